"""Emotions in the browser: a small server for live streams. Imports no torch.

protocol       the messages between clients and the server, and which are refused
limits         what a client may use
access         who may connect: token, Host, Origin
client_stream  one client's sound to its events, in worker threads
connection     one WebSocket, from handshake to close
hub            what all clients share
prometheus     counts for Prometheus
routes         routes and headers
server         socket, certificate, uvicorn, the end
"""
