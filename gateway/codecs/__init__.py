"""Pure translation between the gateway's own values and what one upstream API says, one file an API.

A codec builds what goes on the wire and reads what came back; it sends nothing, waits for nothing and judges nothing.
Siblings never import each other.
"""
