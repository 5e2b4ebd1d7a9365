"""Dry run: the code of a real run on a transport that records the requests and sends none."""

import dataclasses
import json
import urllib.parse
from typing import Any

import urllib3
import yaml
from kfp_server_api.rest import RESTResponse

from kubeflow.client import Server, make_server

_HEADER = (
    "# Nothing was sent. These are the requests to a server without a pipeline, run or schedule of these names.\n"
    "# The server chooses the ids, which stand here in capitals.\n"
)
_IDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
}


@dataclasses.dataclass
class Recorder:
    """Transport that records each request that would change the server, and answers each list as empty.

    Attributes:
        requests: the recorded requests, in order.
    """

    requests: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def __call__(self, method: str, url: str, **arguments: Any) -> RESTResponse:
        """Records a request in place of `RESTClientObject.request`, without its headers: they hold credentials."""
        path = urllib.parse.urlsplit(url).path
        answer: dict[str, Any] = {}
        if method != "GET":
            self.requests.append(_describe(method, path, arguments))
            resource = path.split("/")[3]
            answer = {_IDS[resource]: _IDS[resource].upper()}
            if path.endswith("upload_version"):
                answer["pipeline_version_id"] = "PIPELINE_VERSION_ID"
        body = json.dumps(answer).encode()
        return RESTResponse(urllib3.HTTPResponse(body, {"Content-Type": "application/json"}, 200))

    def render(self) -> str:
        """Returns the requests as YAML."""
        return _HEADER + yaml.safe_dump(self.requests, sort_keys=False, allow_unicode=True, width=120)


def connect_dry_run(namespace: str | None) -> tuple[Server, Recorder]:
    """Returns a server without network, and the recorder of its requests."""
    recorder = Recorder()
    # With a token given, kfp looks for no other credentials.
    server = make_server(lambda _: recorder, namespace, host="http://nowhere.invalid", existing_token="none")
    return server, recorder


def _describe(method: str, path: str, arguments: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {"request": f"{method} {path}"}
    if arguments.get("query_params"):
        request["query"] = dict(arguments["query_params"])
    for field, (name, content, _) in arguments.get("post_params") or []:
        request["file"] = {"field": field, "name": name, "bytes": len(content)}
    if arguments.get("body"):
        request["body"] = arguments["body"]
    return request
