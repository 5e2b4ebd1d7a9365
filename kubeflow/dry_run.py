"""What would be sent, without sending it: the same code, with kfp's client, on a transport that writes down."""

import dataclasses
import json
import urllib.parse
from typing import Any

import urllib3
import yaml
from kfp_server_api.rest import RESTResponse

from kubeflow.client import Server, make_server

_HEADER = (
    "# Nothing was sent. This would be, to a server that has nothing of these names yet; it is the server that knows\n"
    "# what stands here in capitals.\n"
)
_IDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
}


@dataclasses.dataclass
class Recorder:
    """A transport that writes down each request that would change something; a list, when asked for, is empty.

    Attributes:
        requests: what would have been sent, in order.
    """

    requests: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def __call__(self, method: str, url: str, **arguments: Any) -> RESTResponse:
        """Stands for `RESTClientObject.request`. Headers, which hold who asks, are left out."""
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
        """The requests as YAML."""
        return _HEADER + yaml.safe_dump(self.requests, sort_keys=False, allow_unicode=True, width=120)


def rehearse(namespace: str | None) -> tuple[Server, Recorder]:
    """A server that is none, and what writes down what it is sent. With a token given, kfp looks for no other."""
    recorder = Recorder()
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
