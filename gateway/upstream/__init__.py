"""The data plane's HTTP/1.1 client: from a call to an observation or a stream. Nothing else speaks to upstreams."""
