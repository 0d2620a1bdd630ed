"""Emotions in the browser: a small server for live streams. Imports no torch.

protocol    what clients and the server say to each other, and what is refused
limits      what a client may ask for
access      who may connect: token, Host, Origin
listener    one client's sound to its events, in worker threads
client      one WebSocket's life
hub         what all clients share
metrics     counts for Prometheus
app         routes and headers
run         socket, certificate, uvicorn, the end
"""
