"""Data, stores and versions behind gs://, with TensorFlow's own client and a server in this process.

That client has the address of Google's servers built in, and takes from the environment a proxy, the certificates to
trust and a token. So it is what a run would use, with its caches, its folders that are prefixes and its renames that
are copies; the other end is here.
"""

import concurrent.futures
import contextlib
import datetime
import http.server
import itertools
import json
import re
import shutil
import ssl
import threading
import time
import types
import urllib.parse

import numpy as np
import pytest
from apache_beam.internal.gcp import auth

from components.example_gen.layout import list_images
from components.row_store import remote_shards, shard_cache
from components.row_store.shards import FeatureKey
from components.row_store.store import EmbeddingStore, list_keys, remove
from schema.errors import DataError, GraftError
from serving.releases import releases, versions
from serving.releases.record import VersionRecord
from serving.storage.listing import measure

pytestmark = pytest.mark.slow

x509 = pytest.importorskip("cryptography.x509")

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
ROOT = "gs://bucket"
KIND = FeatureKey("conv4_block6_out", "weights", "graph", (2, 2, 8), "bfloat16")
MODEL = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"variables",
    "assets.extra/graft.json": b'{"salt": 3}',
}


def make_certificate(path):
    """Writes a key and a self-signed certificate for Google's host names, as a PEM file."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOSTS[0])])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    formats = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, *formats)
    path.write_bytes(encoded + certificate.public_bytes(serialization.Encoding.PEM))


class Bucket:
    """The objects of one bucket, and the part of Google's JSON API that TensorFlow uses.

    Attributes:
        objects: name to (content, time in seconds).
        requests: what was asked: method and name of the object; READ is a GET of its content.
        watch: called with the names of all objects whenever they have changed.
        refuse: says of (method, name) whether to answer 403.
        spoil: changes what is uploaded, given its name and content.
    """

    def __init__(self):
        self.objects = {}
        self.requests = []
        self.watch = lambda names: None
        self.refuse = lambda method, name: False
        self.spoil = lambda name, content: content
        self._sessions = {}
        self._lock = threading.Lock()

    def put(self, name, content=b"abc", age=0.0):
        """Creates an object without a request, as another client would."""
        self.objects[name] = (content, time.time() - age)

    def content(self, prefix=""):
        """Returns the objects below a prefix, content by name, without folder markers."""
        below = {name: content for name, (content, _) in self.objects.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): content for name, content in below.items() if not name.endswith("/")}

    def answer(self, method, path, headers, body):
        """Answers one request with status, headers and content."""
        with self._lock:
            url = urllib.parse.urlsplit(path)
            query = dict(urllib.parse.parse_qsl(url.query))
            patterns = {
                r"/upload/storage/v1/b/bucket/o": self._upload,
                r"/session/(.+)": self._finish_upload,
                r"/storage/v1/b/bucket": lambda *_: reply({"name": "bucket"}),
                r"/storage/v1/b/bucket/o": self._list,
                r"/storage/v1/b/bucket/o/([^/]+)/rewriteTo/b/bucket/o/([^/]+)": self._rewrite,
                r"/storage/v1/b/bucket/o/([^/]+)": self._describe,
                r"/bucket/([^/]+)": self._read,
            }
            for pattern, handle in patterns.items():
                if match := re.fullmatch(pattern, url.path):
                    names = [urllib.parse.unquote(group) for group in match.groups()]
                    name = names[0] if names else query.get("name", "")
                    self.requests.append(("READ" if handle == self._read else method, name))
                    if self.refuse(method, name):
                        return reply({"error": {"code": 403, "message": "forbidden"}}, 403)
                    return handle(method, names, query | dict(headers), body)
            return reply({}, 404)

    def _set(self, name, content):
        self.put(name, self.spoil(name, content))
        self.watch(set(self.objects))
        return reply({})

    def _upload(self, method, names, options, body):
        if options["uploadType"] == "media":
            return self._set(options["name"], body)
        self._sessions[options["name"]] = None
        return reply({}, Location=f"https://{HOSTS[0]}/session/{urllib.parse.quote(options['name'], safe='')}")

    def _finish_upload(self, method, names, options, body):
        if options.get("Content-Range", "").startswith("bytes */") and body == b"":
            return reply({}) if names[0] in self.objects else reply({}, 404)
        return self._set(names[0], body)

    def _list(self, method, names, options, body):
        prefix, below = options.get("prefix", ""), "delimiter" in options
        found = {}
        for name in sorted(n for n in self.objects if n.startswith(prefix)):
            inside, slash, _ = name[len(prefix) :].partition("/")
            found[prefix + inside + slash if below else name] = bool(slash and below)
        page = int(options.get("pageToken", 0))
        end = page + int(options.get("maxResults", 1000))
        shown = list(found.items())[page:end]
        answer = {
            "items": [self._metadata(name) for name, folder in shown if not folder],
            "prefixes": [name for name, folder in shown if folder],
        }
        return reply(answer | ({"nextPageToken": str(end)} if end < len(found) else {}))

    def _rewrite(self, method, names, options, body):
        return self._set(names[1], self.objects[names[0]][0]) and reply({"done": True})

    def _describe(self, method, names, options, body):
        if names[0] not in self.objects:
            return reply({}, 404)
        if method == "DELETE":
            del self.objects[names[0]]
            self.watch(set(self.objects))
            return reply({}, 204)
        return reply(self._metadata(names[0]))

    def _metadata(self, name):
        content, seconds = self.objects[name]
        changed = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds")
        updated = changed.replace("+00:00", "Z")
        return {"name": name, "size": str(len(content)), "updated": updated, "generation": "1"}

    def _read(self, method, names, options, body):
        if names[0] not in self.objects:
            return reply({}, 404)
        content = self.objects[names[0]][0]
        begin, end = map(int, options["Range"].removeprefix("bytes=").split("-"))
        if begin >= len(content):
            return 416, {}, b""
        return 206, {}, content[begin : end + 1]


def reply(value, status=200, **headers):
    return status, headers, b"" if status == 204 else json.dumps(value).encode()


def read_body(handler):
    """Reads the body of a request, chunked or not."""
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def make_handler(state, pem):
    """Makes a handler that is proxy and server: after CONNECT it speaks TLS in Google's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and content are two packets

        def log_message(self, *args):
            pass

        def do_CONNECT(self):
            self.send_response(200)
            self.end_headers()
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
            self.close_connection = False

        def respond(self):
            status, headers, content = state.bucket.answer(self.command, self.path, self.headers, read_body(self))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.respond)
    return Handler


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # TensorFlow's client makes a connection for each request
    daemon_threads = True


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    """Starts the server; its `bucket` is replaced for each test."""
    pem, state = tmp_path_factory.mktemp("google") / "google.pem", types.SimpleNamespace(bucket=None)
    make_certificate(pem)
    server = Server(("127.0.0.1", 0), make_handler(state, pem))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {
        "https_proxy": f"http://127.0.0.1:{server.server_port}",
        "no_proxy": "",
        "CURL_CA_BUNDLE": str(pem),
        "REQUESTS_CA_BUNDLE": str(pem),
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(auth._Credentials, "_credentials_init", True)  # Beam is anonymous, and need not look for an hour
        patch.setattr(auth._Credentials, "_credentials", None)
        yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bucket(google):
    google.bucket = Bucket()
    return google.bucket


_folders = itertools.count()


@pytest.fixture
def folder():
    """Returns a folder name of its own for each test: TensorFlow's client caches listings for five seconds."""
    return f"folder{next(_folders)}"


# Listing.


def fill(bucket, folder, *names):
    for name in names:
        bucket.put(f"{folder}/{name}")


def test_class_folders_of_a_bucket_are_listed(bucket, folder):
    """At any depth and in any script, with size and time; a folder marker is no image."""
    fill(bucket, folder, "cat/1.jpg", "cat/deep/down/2.jpg", "dog/猫 #1.jpg", "LICENSE")
    for marker in ("", "dog/", "cat/deep/", "empty/"):
        bucket.put(f"{folder}/{marker}", b"")
    bucket.put(f"{folder}/cat_$folder$", b"")
    bucket.put(f"{folder}/cat/deep_$folder$", b"")
    listing = list_images(f"{ROOT}/{folder}")
    assert [(f.path, f.label, f.size) for f in listing.files] == [
        ("cat/1.jpg", "cat", 3), ("cat/deep/down/2.jpg", "cat", 3), ("dog/猫 #1.jpg", "dog", 3),
    ]  # fmt: skip
    seconds = bucket.objects[f"{folder}/cat/1.jpg"][1]
    assert listing.files[0].modified / 1e9 == pytest.approx(seconds, abs=1e-3)
    assert list_images(f"{ROOT}/{folder}/") == listing


@pytest.mark.parametrize("name", ["photos [1]", "50% *", "what?", "{a}"])
def test_no_character_of_a_folder_is_special(bucket, folder, name):
    """Beam lists by patterns, in which such characters are special."""
    fill(bucket, folder, f"{name}/cat/[2].jpg", f"{name}/dog/*.jpg")
    fill(bucket, folder, "photos 1/cat/3.jpg", "50% x/cat/3.jpg", "whatx/cat/3.jpg", "a/cat/3.jpg")
    assert [f.path for f in list_images(f"{ROOT}/{folder}/{name}").files] == ["cat/[2].jpg", "dog/*.jpg"]


def test_dates_and_splits_of_a_bucket_are_what_they_are_on_disk(bucket, folder):
    """The layout is found from the names, as on disk."""
    fill(bucket, folder, *(f"days/2026-11-{day}/cat/1.jpg" for day in (20, 21, 23)))
    fill(bucket, folder, "splits/train/cat/1.jpg", "splits/test/cat/2.jpg")
    listing = list_images(f"{ROOT}/{folder}/days", window_days=3)
    assert [(f.path, f.span) for f in listing.files] == [
        ("2026-11-21/cat/1.jpg", "2026-11-21"), ("2026-11-23/cat/1.jpg", "2026-11-23"),
    ]  # fmt: skip
    assert {f.path: f.split for f in list_images(f"{ROOT}/{folder}/splits").files} == {
        "train/cat/1.jpg": "train", "test/cat/2.jpg": "test",
    }  # fmt: skip


def test_hidden_and_side_files_of_a_bucket_are_ignored(bucket, folder):
    """Side folders are not even listed."""
    fill(bucket, folder, "cat/1.jpg", "cat/notes.txt", "cat/.thumbs/2.jpg", "@eaDir/3.jpg", ".hidden/4.jpg")
    fill(bucket, folder, "cat/.thumbs/5.jpg", "@eaDir/deep/.x/6.jpg", "loose.jpg")
    listing = list_images(f"{ROOT}/{folder}")
    assert [f.path for f in listing.files] == ["cat/1.jpg"]
    assert listing.ignored == {
        "side file": {".txt": 1},
        "hidden folder": {".thumbs": 1, ".hidden": 1},
        "folder that a computer made": {"@eaDir": 1},
        "file beside the class folders": {".jpg": 1},
    }
    assert not any("thumbs/2" in name or "eaDir/3" in name for _, name in bucket.requests)


def test_more_files_than_a_page_has_are_all_listed(bucket, folder):
    """Google's pages have a thousand names."""
    fill(bucket, folder, *(f"{label}/{number}.jpg" for label in ("cat", "dog") for number in range(1100)))
    assert len(list_images(f"{ROOT}/{folder}").files) == 2200


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no such folder"),
        (("",), "found 0 files and no folder"),
        (("1.jpg", "2.jpg"), r"found 2 files and no folder.*Move the images into folders"),
        (("cat/notes.txt", "dog/"), "no image in 2 folders"),
        (("2026-11-23/cat/1.jpg", "cat/1.jpg"), "2026-11-23 are dates and cat are not"),
    ],
)
def test_a_bucket_without_a_layout_is_refused_as_a_folder_is(bucket, folder, names, message):
    """The message is the same."""
    fill(bucket, folder, *names)
    with pytest.raises(DataError, match=message):
        list_images(f"{ROOT}/{folder}")


def test_an_object_in_place_of_the_folder_is_refused(bucket, folder):
    """For example an archive."""
    fill(bucket, folder, "flowers.tgz")
    with pytest.raises(DataError, match=r"flowers\.tgz: expected a folder .* is a file"):
        list_images(f"{ROOT}/{folder}/flowers.tgz")


def test_a_bucket_that_one_may_not_read_is_refused_by_name(bucket, folder):
    """The message does not call it missing."""
    fill(bucket, folder, "cat/1.jpg")
    bucket.refuse = lambda method, name: True
    with pytest.raises(DataError, match=rf"{ROOT}/{folder}: the folder cannot be listed: .*403"):
        list_images(f"{ROOT}/{folder}")


# The embedding store.


def make_rows(numbers):
    digests = [np.random.default_rng(n).bytes(32) for n in numbers]
    rows = [np.random.default_rng(n).standard_normal(KIND.shape).astype(KIND.numpy_dtype) for n in numbers]
    return digests, np.array(rows)


def add(store, numbers):
    with store.append() as append:
        append(*make_rows(numbers))


def list_found(store, numbers):
    """Lists the images that have a row; fails if a row is not that of its image."""
    digests, expected = make_rows(numbers)
    rows = store.open()
    intact = rows.check(rows.find(digests))
    assert rows.read(rows.find(digests)[intact]).tobytes() == expected[intact].tobytes()
    return [n for n, fine in zip(numbers, intact, strict=True) if fine]


def count_reads(bucket, suffix):
    """Counts downloads of objects by suffix, without requests that describe, list or delete."""
    return sum(name.endswith(suffix) and method == "READ" for method, name in bucket.requests)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Sets a cache folder for the test."""
    monkeypatch.setenv(shard_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(bucket, folder, cache, monkeypatch):
    """Makes a store in which every shard is large enough for a list."""
    monkeypatch.setattr(remote_shards, "_LISTED_BYTES", 0)
    return EmbeddingStore(f"{ROOT}/{folder}", KIND)


def forget(cache):
    """Empties the cache, as on another machine."""
    shutil.rmtree(cache)


def test_rows_of_a_bucket_are_those_that_were_appended(store, bucket, folder, cache):
    """A shard is one object, complete once visible, and no other object is left."""
    add(store, range(5))
    add(store, range(5, 8))
    forget(cache)
    assert list_found(store, range(10)) == [*range(8)]
    assert sorted(name.rpartition(".")[2] for name in bucket.content()) == [*2 * ["arrow"], *2 * ["digests"], "json"]
    assert list_keys(f"{ROOT}/{folder}") == [KIND]
    assert measure(f"{ROOT}/{folder}") == sum(map(len, bucket.content().values()))


def test_a_lookup_of_digests_downloads_no_shard(store, bucket, cache):
    """The features of phase 2 have 400 kB an image, and every worker of the Embedder looks digests up."""
    add(store, range(5))
    forget(cache)
    rows = store.open()
    assert (rows.find(make_rows(range(7))[0]) >= 0).tolist() == 5 * [True] + 2 * [False]
    assert (count_reads(bucket, ".digests"), count_reads(bucket, ".arrow")) == (1, 0)


def test_a_shard_is_fetched_once_for_all_who_read_it(store, bucket, cache):
    """Threads, several `open` calls, and later runs with the same cache share the copy."""
    add(store, range(5))
    forget(cache)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: list_found(store, range(5)), range(8)))
    assert found == 8 * [[*range(5)]]
    assert count_reads(bucket, ".arrow") == 1


def test_what_was_written_here_is_not_fetched(store, bucket):
    """With GRAFT_CACHE, the uploaded shard becomes the copy."""
    add(store, range(5))
    assert list_found(store, range(5)) == [*range(5)]
    assert count_reads(bucket, ".arrow") == 0


def test_small_shards_have_no_list(store, bucket, monkeypatch):
    """Rows of image sizes have 44 bytes, so a list would be nearly as large as the shard."""
    monkeypatch.setattr(remote_shards, "_LISTED_BYTES", 1_000_000)
    add(store, range(5))
    assert list_found(store, range(5)) == [*range(5)]
    assert not any(name.endswith(".digests") for name in bucket.objects)


def test_copies_of_what_was_pruned_go(store, bucket, cache):
    """Copies of removed shards would fill the disk; a shard removed as a whole is not downloaded."""
    add(store, range(5))
    add(store, range(5, 8))
    forget(cache)
    assert store.prune(make_rows(range(5))[0]) == 3
    assert count_reads(bucket, ".arrow") == 0
    assert list_found(store, range(8)) == [*range(5)]
    assert len(list(cache.rglob("*.arrow"))) == len([name for name in bucket.objects if name.endswith(".arrow")]) == 1
    assert store.prune(make_rows([1, 2])[0]) == 3
    assert list_found(store, range(8)) == [1, 2]


def test_a_damaged_copy_is_fetched_again_and_the_bucket_left_alone(store, bucket, cache):
    """A bad disk of one machine must not remove rows for all others."""
    add(store, range(5))
    [copy] = cache.rglob("*.arrow")
    for damaged in (b"", flip(copy.read_bytes(), 2)):
        copy.write_bytes(damaged)
        assert list_found(store, range(5)) == [*range(5)]
    assert count_reads(bucket, ".arrow") == 2


def flip(content, number):
    """Flips a bit inside the row of an image."""
    [row] = make_rows([number])[1]
    changed = bytearray(content)
    changed[content.index(row.tobytes()) + 9] ^= 4
    return bytes(changed)


def damage(bucket, change):
    [name] = [name for name in bucket.objects if name.endswith(".arrow")]
    bucket.put(name, change(bucket.objects[name][0]))
    return name


@pytest.mark.parametrize("change", [lambda c: flip(c, 2), lambda c: c[:-1], lambda c: b"text"])
def test_a_shard_that_is_damaged_in_the_bucket_is_set_aside(store, bucket, cache, change, caplog):
    """None of its rows passes, and the next `open` does not list the shard."""
    add(store, range(5))
    name = damage(bucket, change)
    forget(cache)
    assert list_found(store, range(5)) == []
    assert "damaged; set aside" in caplog.text
    assert [n for n in bucket.content() if n != f"{store.folder.removeprefix(ROOT + '/')}/kind.json"] == [
        f"{name}.damaged"
    ]
    add(store, range(5))
    assert list_found(store, range(5)) == [*range(5)]


@pytest.mark.parametrize("suffix", ["digests", "arrow.damaged"])
def test_what_is_of_no_use_is_removed_after_a_day(store, bucket, suffix):
    """A list without its shard, whose writer was killed or is still writing; and a shard set aside."""
    add(store, range(2))
    here = store.folder.removeprefix(f"{ROOT}/")
    bucket.put(f"{here}/old.{suffix}", bytes(32), age=90_000)
    bucket.put(f"{here}/new.{suffix}", bytes(32))
    assert list_found(store, range(3)) == [0, 1]
    assert (f"{here}/old.{suffix}" in bucket.objects, f"{here}/new.{suffix}" in bucket.objects) == (False, True)


@pytest.mark.parametrize(("content", "found"), [(b"torn", [*range(5)]), (b"".join(make_rows([8, 9])[0]), [])])
def test_a_torn_list_and_that_of_another_shard_are_not_believed(store, bucket, cache, content, found):
    """A torn list is ignored; a list of another shard is noticed when a row is read."""
    add(store, range(5))
    [name] = [name for name in bucket.objects if name.endswith(".digests")]
    bucket.put(name, content)
    forget(cache)
    assert list_found(store, range(10)) == found


def test_a_failed_upload_leaves_nothing(store, bucket):
    """Neither in the bucket nor on this machine; the error is an OSError."""
    add(store, [1])
    before = bucket.content()
    bucket.refuse = lambda method, name: method == "PUT" and name.endswith(".arrow")
    with pytest.raises(OSError, match="403"):
        add(store, [2])
    assert bucket.content() == before
    bucket.refuse = lambda method, name: False
    assert list_found(store, [1, 2]) == [1]


def test_a_disk_too_small_for_a_copy_is_named(store, cache, monkeypatch):
    """The message also names the variable for another folder."""
    add(store, [1])
    forget(cache)
    monkeypatch.setattr(shard_cache, "free_bytes", lambda: 10)
    with pytest.raises(GraftError, match=rf"GB to fetch, and {cache} has .* name a folder .* in GRAFT_CACHE"):
        list_found(store, [1])


def test_a_feature_key_is_removed_from_a_bucket(store, bucket, folder):
    """With all its shards; a second removal is no error."""
    add(store, [1])
    for _ in range(2):
        remove(f"{ROOT}/{folder}", KIND)
    assert bucket.content() == {}
    assert store.open().find(make_rows([1])[0]).tolist() == [-1]


# Versions.


@pytest.fixture
def model(tmp_path):
    """Makes a SavedModel on this machine."""
    for name, content in MODEL.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


@pytest.fixture
def model_dir(bucket, folder):
    """Returns the folder of a model's versions; fails if a server would ever see an incomplete version."""

    def watch(names):
        for name in (n for n in names if n.endswith("/saved_model.pb")):
            version = name.removesuffix("saved_model.pb")
            missing = {part for part in MODEL if version + part not in names}
            if missing:
                torn.append((name, missing))

    torn = []
    bucket.watch = watch
    yield f"{ROOT}/{folder}/flowers"
    assert torn == []


def list_versions(bucket):
    """Lists the folders that hold a file, and those that hold a whole model."""
    folders = {name.split("/")[2] for name in bucket.content() if name.count("/") > 2}
    whole = {f for f in folders if {n.partition(f"/{f}/")[2] for n in bucket.content() if f"/{f}/" in n} == set(MODEL)}
    return folders, whole


def push(model, model_dir, number):
    """Pushes a model as the Pusher does."""
    releases.recover(model_dir)
    with versions.stage(model_dir) as staging:
        versions.copy_tree(str(model), staging)
        versions.place(staging, f"{model_dir}/{number}")


def test_the_saved_model_is_put_there_last(model, model_dir, bucket):
    """A server loads no version without it: all other files are uploaded and read back before."""
    push(model, model_dir, 7)
    uploads = [name for method, name in bucket.requests if method == "PUT"]
    reads = [name for method, name in bucket.requests if method == "READ"]
    assert uploads[-1].endswith("/7/saved_model.pb")
    assert sorted(reads[:4]) == sorted(uploads[-4:])
    assert bucket.content(f"{model_dir.removeprefix(ROOT + '/')}/7/") == MODEL
    [version] = versions.find_versions(model_dir)
    assert (version.number, version.record) == (7, VersionRecord(salt=3))
    assert version.identity == f"7:{versions.digest_model(str(model))}"
    assert list_versions(bucket) == ({"7"}, {"7"})


def test_releases_change_in_a_bucket_as_on_disk(model, model_dir, bucket):
    """Rollback, promotion and removal; a server never sees an incomplete version, and no note is left."""
    for number in (7, 9, 11):
        push(model, model_dir, number)
    assert releases.roll_back(model_dir).path == f"{model_dir}/withdrawn-11"
    assert releases.read(model_dir).live.number == 9
    promoted = releases.promote(model_dir, 7)
    assert releases.read(model_dir).live == promoted
    assert releases.keep(model_dir, 1) == [9]
    assert list_versions(bucket)[1] == {str(promoted.number), "withdrawn-11"}
    assert not any("/." in name for name in bucket.content())
    assert b"stable" in bucket.content()[f"{model_dir.removeprefix(ROOT + '/').split('/')[0]}/models.config"]


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.long] * (part != "saved_model.pb")) for part in MODEL]
)
def test_an_upload_that_fails_leaves_nothing_and_the_live_version_alone(model, model_dir, bucket, part):
    """For any file; the error is an OSError with the name of the file."""
    push(model, model_dir, 7)
    before = bucket.content()
    bucket.refuse = lambda method, name: method == "PUT" and name.endswith(f"/8/{part}")
    with pytest.raises(OSError, match="403") as raised:
        push(model, model_dir, 8)
    assert raised.value.filename.endswith(part)
    assert bucket.content() == before


@pytest.mark.parametrize("part", MODEL)
def test_a_file_that_is_not_there_as_it_was_sent_takes_the_version_back(model, model_dir, bucket, part):
    """The uploaded file is cut off, or has other bytes of the same length."""
    for spoilt in (lambda content: content[:-1], lambda content: content[:-1] + b"!"):
        bucket.spoil = lambda name, content: spoilt(content) if name.endswith(f"/8/{part}") else content  # noqa: B023
        with pytest.raises(OSError, match="differs from its source"):
            push(model, model_dir, 8)
        assert list_versions(bucket) == (set(), set())


def kill_when(bucket, moment):
    """Rejects all changes of the bucket from a moment on, as if this process had ended."""

    def refuse(method, name):
        killed.append(1) if moment(method, name) else None
        return bool(killed) and method != "GET"

    killed = []
    bucket.refuse = refuse


@pytest.mark.parametrize("part", MODEL)
def test_a_push_that_was_killed_is_tidied_up_by_the_next(model, model_dir, bucket, part):
    """Incomplete versions are removed; whole versions stay."""
    push(model, model_dir, 7)
    kill_when(bucket, lambda method, name: method == "PUT" and name.endswith(f"/8/{part}"))
    with pytest.raises(OSError, match="403"):
        push(model, model_dir, 8)
    assert list_versions(bucket)[1] == {"7"}
    bucket.refuse = lambda method, name: False
    releases.recover(model_dir)
    assert list_versions(bucket) == ({"7"}, {"7"})
    assert not any("/." in name for name in bucket.content())


def test_a_push_that_was_killed_when_all_was_there_is_a_push(model, model_dir, bucket):
    """A server may have loaded the version."""
    kill_when(bucket, lambda method, name: method == "DELETE" and ".placing-" in name)
    with pytest.raises(OSError, match="403"):
        push(model, model_dir, 8)
    bucket.refuse = lambda method, name: False
    releases.recover(model_dir)
    assert list_versions(bucket) == ({"8"}, {"8"})
    assert not any("/." in name for name in bucket.content())


@pytest.mark.parametrize("step", [n if n == 7 else pytest.param(n, marks=pytest.mark.long) for n in range(1, 12)])
def test_a_rollback_that_is_killed_loses_no_version_and_can_be_done_again(model, model_dir, bucket, step):
    """Killed before any of its changes: the live version stays live, or is withdrawn."""
    for number in (7, 9):
        push(model, model_dir, number)
    changes = []

    def count(method, name):
        changes.extend([name] if method in ("PUT", "DELETE") else [])
        return len(changes) == step

    kill_when(bucket, count)
    with contextlib.suppress(GraftError, OSError):
        releases.roll_back(model_dir)
    whole = list_versions(bucket)[1]
    assert "7" in whole
    assert whole & {"9", "withdrawn-9"}
    bucket.refuse = lambda method, name: False
    releases.recover(model_dir)
    if releases.read(model_dir).live.number == 9:
        releases.roll_back(model_dir)
    assert list_versions(bucket) == ({"7", "withdrawn-9"}, {"7", "withdrawn-9"})
    assert not any("/." in name for name in bucket.content())


def test_a_number_that_is_taken_in_a_bucket_is_not_overwritten(model, model_dir, bucket):
    """A second push of the same model changes nothing."""
    push(model, model_dir, 7)
    push(model, model_dir, 7)
    (model / "saved_model.pb").write_bytes(b"another graph")
    with pytest.raises(FileExistsError):
        push(model, model_dir, 7)
    assert list_versions(bucket) == ({"7"}, {"7"})
    assert versions.find_live(model_dir).record == VersionRecord(salt=3)
