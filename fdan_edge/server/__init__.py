"""Emotions in the browser: a small server for live streams. Imports no torch.

protocol       the messages between clients and the server, and which are refused
limits         what a client may use
access         who may connect: token, Host, Origin
attempts       how often tokens may be tried
guests         connections that were not let in yet
listener       connections from their first moment, with TLS
uvicorn_http, uvicorn_websocket    what uvicorn leaves without bounds
log_limits     what strangers may write into the log
client_stream  one client's sound to its events, in worker threads
connection     one WebSocket, from handshake to close
hub            what all clients share
prometheus     counts for Prometheus
routes         routes and headers
server         socket, certificate, uvicorn, the end
"""
