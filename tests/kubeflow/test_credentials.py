"""Nothing that came from a credential is ever shown, whatever the credential is and whoever raises an error."""

import json
import types

import pytest
import yaml
from kfp_api_stub import KfpApiStub
from kubeflow_commands import DATA, make_graft

from kubeflow import client
from kubeflow.credentials import find_secrets, hide, read_token
from schema.errors import UsageError

SECRET = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0LXBheWxvYWQ.bm90LWEtc2lnbmF0dXJl"
ODD = {
    "a second line": f"{SECRET}\n{SECRET[::-1]}\n".encode(),
    "NUL": f"{SECRET}\0".encode(),
    "UTF-16": SECRET.encode("utf-16"),
    "1 MB": (SECRET * 17_000).encode(),
    "another file": json.dumps({"type": "service_account", "private_key": SECRET}, indent=1).encode(),
    "another file of one line": json.dumps({"private_key": SECRET}).encode(),
    "bytes": b"\xff\xfe\x80" + SECRET.encode(),
    "Cyrillic": f"{SECRET}\u0436\u0436".encode(),
    "a carriage return": f"{SECRET}\rX-Admin: yes".encode(),
    "an escape": f"\x1b]0;{SECRET}\x07".encode(),
}


@pytest.fixture
def graft(tmp_path, monkeypatch, capsys):
    return make_graft(tmp_path, monkeypatch, capsys)


@pytest.fixture
def submit(graft, stub):
    return lambda *options: graft("submit", "--host", stub.host, DATA, *options)


def assert_hidden(typed, *secrets):
    """Checks that the output shares no 8 characters with a secret, in any form that Python prints."""
    shown = typed.out + typed.err
    for secret in secrets or (SECRET,):
        for form in (secret, ascii(secret), repr(secret.encode()), "\0".join(secret)):
            assert not any(form[i : i + 8] in shown for i in range(min(len(form), 400) - 7)), shown
    assert "Traceback" not in shown


def assert_refused(typed, *said):
    assert typed.code in (1, 2)
    assert typed.err.startswith("graft: ")
    assert typed.err.count("\n") == 1
    assert all(text in typed.err for text in said), typed.err


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_a_file_that_holds_no_token_is_named_and_not_shown(submit, stub, tmp_path, monkeypatch, content):
    (tmp_path / "token").write_bytes(content)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    typed = submit()
    assert_hidden(typed)
    assert_refused(typed, "KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"), "expected one line with a token")
    assert not stub.requests


def test_a_token_file_that_is_replaced_by_an_odd_one_is_refused_by_the_next_request(tmp_path):
    """Kubernetes replaces the file while a command waits."""
    token = tmp_path / "token"
    token.write_text("hush\n")
    assert read_token(str(token)) == "hush"
    token.write_bytes(ODD["a second line"])
    with pytest.raises(UsageError, match="got more than one line"):
        read_token(str(token))


def test_a_token_in_place_of_its_file_is_not_shown(submit, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", SECRET)
    typed = submit()
    assert_hidden(typed)
    assert_refused(typed, "KF_PIPELINES_SA_TOKEN_PATH: the file cannot be read")


@pytest.mark.parametrize("key", ["cookie", "header_value", "header_name"])
@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_an_odd_value_in_kfps_configuration_is_named_and_not_shown(submit, stub, tmp_path, key, content):
    value = content.decode("latin-1")
    names = {"client_authentication_header_name": "x-who", "client_authentication_header_value": "me"}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text(json.dumps(names | {f"client_authentication_{key}": value}))
    typed = submit()
    assert_hidden(typed)
    if typed.code:
        assert_refused(typed, "kfp's configuration cannot be used", "context.json", f"client_authentication_{key}")
        assert not stub.requests


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_another_file_in_place_of_kfps_configuration_is_not_shown(submit, tmp_path, content):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_bytes(content)
    assert_hidden(submit())


@pytest.mark.parametrize("kind", sorted(set(ODD) - {"1 MB"}))
def test_an_odd_token_of_kubectl_is_not_shown(graft, stub, tmp_path, monkeypatch, kind):
    """It is read by kubernetes' client; http.client would show a token that it refuses."""
    user = {"name": "u", "user": {"token": ODD[kind].decode("latin-1")}}
    cluster = {"name": "c", "cluster": {"server": stub.host}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    config = {"current-context": "x", "contexts": [context], "clusters": [cluster], "users": [user]}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    typed = graft("submit", DATA)
    assert_hidden(typed)
    if kind in ("a second line", "another file", "a carriage return"):
        assert_refused(typed, "cannot be asked")


@pytest.mark.parametrize("variable", ["KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT"])
def test_a_password_in_an_address_is_not_shown(graft, stub, monkeypatch, variable):
    address = stub.host.replace("http://", f"http://me:{SECRET}@")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", stub.host)
    monkeypatch.setenv(variable, address)
    typed = graft("submit", DATA)
    assert typed.code == 0
    assert_hidden(typed)
    if variable == "KF_PIPELINES_ENDPOINT":
        stub.fail(".*", 500, f"cannot serve {address}")
        assert_hidden(graft("submit", DATA))


def test_an_answer_that_repeats_a_credential_is_masked(graft, tmp_path, monkeypatch):
    """Proxies do, in whole or cut off; the rest of their reason stays."""
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "home").mkdir()
    settings = {"client_authentication_cookie": f"session={SECRET[::-1]}"}
    (tmp_path / "home" / "context.json").write_text(json.dumps(settings))
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    with KfpApiStub() as stub:
        stub.fail("POST .*/runs", 403, f"no user for 'Bearer {SECRET}' or {SECRET[:18]}... with {SECRET[::-1]}: denied")
        typed = graft("submit", "--host", stub.host, DATA)
    assert_hidden(typed, SECRET, SECRET[::-1])
    assert_refused(typed, "no user for 'Bearer ***' or ***... with ***: denied")


@pytest.mark.parametrize("where", ["request", "update_params_for_auth"])
@pytest.mark.parametrize(
    "error",
    [ValueError(f"Invalid header value b'Bearer {SECRET}'"), OSError(5, f"{SECRET}: odd"), UnicodeError(SECRET)],
    ids=["ValueError", "OSError", "UnicodeError"],
)
def test_whoever_raises_nothing_of_it_is_shown(submit, monkeypatch, where, error):
    """Of an error that no module of Graft's knows, the type is shown alone."""

    def fail(*arguments, **options):
        raise error

    if where == "request":
        monkeypatch.setattr("kfp_server_api.rest.RESTClientObject.request", fail)
        expected = "cannot be asked"
    else:
        monkeypatch.setattr("kfp_server_api.ApiClient.update_params_for_auth", fail)
        expected = "kfp's configuration cannot be used"
    typed = submit()
    assert_hidden(typed)
    assert_refused(typed, expected, type(error).__name__)


def test_an_error_of_kfps_configuration_is_shown_by_its_type(monkeypatch):
    def fail(*arguments, **options):
        raise ValueError(f"bad token {SECRET}")

    monkeypatch.setattr(client, "_Client", fail)
    with pytest.raises(client.GraftError) as raised:
        client.make_server(lambda rest: None, None)
    assert "(ValueError)" in str(raised.value)
    assert_hidden(types.SimpleNamespace(out="", err=str(raised.value)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing of it", "nothing of it"),
        (f"<{SECRET}>", "<***>"),
        (f"{SECRET[5:30]} and {SECRET[40:]}", "*** and ***"),
        (f"up to five: {SECRET[:5]}", f"up to five: {SECRET[:5]}"),
        ("pin 1234, pan 12345", "pin ***, pan ***5"),
        ("", ""),
    ],
)
def test_parts_of_a_credential_are_masked(text, shown):
    assert hide(text, {SECRET, "1234"}) == shown


def test_the_credentials_of_a_request_are_those_in_its_headers_and_its_address():
    headers = {"Authorization": "Bearer abcdef", "Cookie": "a=first; b=other", "X-Who": "me:you", "Accept": "text/html"}
    assert find_secrets("http://user:p%40ss@host/x", headers) == {
        "abcdef", "first", "other", "you", "user", "p%40ss", "p@ss",
    }  # fmt: skip
