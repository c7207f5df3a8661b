#!/usr/bin/env python3
"""The examples of TLS in other people's loops, as their users would run them: against curl, openssl and heddle serve."""
