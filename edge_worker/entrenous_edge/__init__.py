"""The edge worker: the HTTP service a shop's own operator runs. It opens with *Loop*."""
