"""Sessions of `requests` with the proxies and certificates of the environment. Imports no TensorFlow."""

import os
import urllib.parse

import requests

from serving.client.addresses import is_this_machine

# Variables of `requests`, curl and OpenSSL; the first one that is set names a file or folder of certificates.
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def make_session(address: str) -> requests.Session:
    """Makes a session that reads proxies and certificates from the environment, and no passwords.

    HTTP_PROXY, HTTPS_PROXY and NO_PROXY count as in curl, but not for a server on this machine, which no proxy reaches.
    `trust_env` is off because it would also read passwords from ~/.netrc.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = next(filter(None, map(os.environ.get, AUTHORITIES)), True)
    host = urllib.parse.urlsplit(address).hostname or ""
    if not is_this_machine(host):
        session.proxies = requests.utils.get_environ_proxies(address)
    return session
