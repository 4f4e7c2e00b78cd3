# SPDX-License-Identifier: Apache-2.0
"""Raw bytes to a server, and every byte that comes back."""
import socket
import struct
import threading
import time


def exchange(port, pieces, pause=0.0, reset=False, timeout=20):
    """Sends the pieces, then end of file; returns (bytes received, how the connection ended)."""
    got, end = bytearray(), "end of file"
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send():
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    if pause:
                        time.sleep(pause)
                if not reset:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has answered already and does not want the rest

        if reset:
            send()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b"", "reset by us"
        sender = threading.Thread(target=send)
        sender.start()
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:
            end = "reset"
        except TimeoutError:
            end = "timeout"
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sender.join()
    return bytes(got), end
