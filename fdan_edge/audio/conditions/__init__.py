"""What happens to a voice before it is recorded: noise, rooms, telephones, codecs; for training and for scores.

Everything here needs NumPy alone, but codecs need PyAV. Chance comes from a `numpy.random.Generator`.
"""
