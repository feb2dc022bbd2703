"""What upstreams say when they refuse, as their contracts and recorded traffic have it, and the class each means."""

from pathlib import Path

import yaml

from gateway.core.table import FailureCodes, Phrase
from gateway.core.types import ErrorBody, FailureClass

CATALOG = Path(__file__).parents[2] / "gateway" / "catalog" / "failures.yaml"


def load_codes() -> FailureCodes:
    data = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
    return FailureCodes(
        codes={code: FailureClass(kind) for code, kind in data["codes"].items()},
        code_prefixes=tuple((prefix, FailureClass(kind)) for prefix, kind in data["code_prefixes"].items()),
        types={name: FailureClass(kind) for name, kind in data["types"].items()},
        statuses={status: FailureClass(kind) for status, kind in data["statuses"].items()},
        phrases=tuple(Phrase(text=entry["text"], kind=FailureClass(entry["class"])) for entry in data["phrases"]),
    )


CODES = load_codes()


def err(code: str | None = None, kind: str | None = None, message: str = "", param: str | None = None) -> ErrorBody:
    return ErrorBody(message=message, type=kind, param=param, code=code)


REFUSALS: list[tuple[int, ErrorBody | None, str]] = [
    # OpenAI, as its contract and as recorded
    (400, err("moderation_blocked", "image_generation_user_error"), "content_policy"),
    (400, err("content_policy_violation", "invalid_request_error"), "content_policy"),
    (400, err("image_content_policy_violation"), "content_policy"),
    (400, err("invalid_prompt", "invalid_request_error"), "content_policy"),
    (400, err("invalid_value", "invalid_request_error", param="size"), "unsupported_option"),
    (400, err("invalid_value", "invalid_request_error", param="tools[0].size"), "unsupported_option"),
    (400, err("invalid_value", "invalid_request_error", param="background"), "unsupported_option"),
    (400, err("invalid_value", "invalid_request_error", param="prompt"), "bad_request"),
    (400, err("invalid_value", "invalid_request_error"), "bad_request"),
    (400, err("invalid_value", "invalid_request_error", param="model"), "model_missing"),
    (400, err("unknown_parameter", "invalid_request_error", param="response_format"), "unsupported_option"),
    (400, err("unsupported_parameter", "invalid_request_error", param="foo"), "unsupported_option"),
    (400, err("unsupported_value", "invalid_request_error", param="quality"), "unsupported_option"),
    (400, err("unsupported_value", "invalid_request_error", param="stream"), "account_not_ready"),
    (400, err("decimal_below_min_value", "invalid_request_error", param="n"), "bad_request"),
    (400, err("invalid_image", "invalid_request_error"), "bad_request"),
    (401, err("invalid_api_key", "invalid_request_error"), "key_rejected"),
    (403, err(message="Your organization must be verified to use the model `m`."), "account_not_ready"),
    (400, err(message="Your organization must be verified to stream this model."), "account_not_ready"),
    (500, err(message="Your organization must be verified to use the model `m`."), "server_error"),
    (403, err(message="You do not have permission."), "key_rejected"),
    (404, err("model_not_found", "invalid_request_error", param="model"), "model_missing"),
    (404, err(None, "invalid_request_error", "Item with id 'rs_1' not found."), "bad_request"),
    (429, err("rate_limit_exceeded", "input-images"), "rate_limited"),
    (400, err(None, "tokens"), "rate_limited"),
    (400, err(None, "requests"), "rate_limited"),
    (429, err("insufficient_quota", "insufficient_quota"), "quota_exhausted"),
    (429, err(None, None, "You exceeded your current quota, please check your plan."), "quota_exhausted"),
    (400, err("billing_hard_limit_reached", "billing_limit_user_error"), "quota_exhausted"),
    (400, err(None, "billing_limit_user_error"), "quota_exhausted"),
    (402, err(None, None, "Payment required"), "quota_exhausted"),
    (500, err(None, "invalid_request_error"), "server_error"),
    (500, err("server_error", "server_error"), "server_error"),
    (500, err("server_error", "image_generation_server_error"), "server_error"),
    (503, err("server_error", "server_error"), "overloaded"),
    (529, err(None, "overloaded_error"), "overloaded"),
    (400, err(None, None, "Your request was rejected by the safety system."), "content_policy"),
    # Azure
    (400, err("content_filter"), "content_policy"),
    (400, err("contentFilter"), "content_policy"),
    (400, err("ResponsibleAIPolicyViolation"), "content_policy"),
    (404, err("DeploymentNotFound"), "model_missing"),
    (400, err("OperationNotSupported"), "model_missing"),
    (429, err("429"), "rate_limited"),
    # new-api
    (400, err("invalid_request", "new_api_error"), "bad_request"),
    (500, err("convert_request_failed", "new_api_error"), "bad_request"),
    (500, err("sensitive_words_detected", "new_api_error"), "content_policy"),
    (403, err("prompt_blocked", "new_api_error"), "content_policy"),
    (400, err("violation_fee.grok.csam", "new_api_error"), "content_policy"),
    (403, err("insufficient_user_quota", "new_api_error"), "quota_exhausted"),
    (403, err("pre_consume_token_quota_failed", "new_api_error"), "quota_exhausted"),
    (403, err("access_denied", "new_api_error"), "key_rejected"),
    (503, err("model_not_found", "new_api_error"), "model_missing"),
    (500, err("get_channel_failed", "new_api_error"), "model_missing"),
    (500, err("model_price_error", "new_api_error"), "model_missing"),
    (503, err(None, "new_api_error", "当前分组下无可用渠道"), "model_missing"),
    (503, err(None, "one_api_error", "当前分组下无可用渠道"), "model_missing"),
    (500, err("channel:no_available_key", "new_api_error"), "model_missing"),
    (500, err("channel:aws_client_error", "new_api_error"), "model_missing"),
    (401, err("channel:invalid_key", "new_api_error"), "key_rejected"),
    (401, err("", "new_api_error", "无效的令牌"), "key_rejected"),
    (429, err(None, "new_api_error"), "rate_limited"),
    (500, err("do_request_failed", "new_api_error"), "lost_behind"),
    (500, err("read_response_body_failed", "new_api_error"), "lost_behind"),
    (500, err("bad_response", "upstream_error"), "lost_behind"),
    (500, err("bad_response_body", "upstream_error"), "lost_behind"),
    (500, err("bad_response_status_code", "bad_response_status_code"), "lost_behind"),
    (502, err("bad_response_status_code", "bad_response_status_code"), "lost_behind"),
    (429, err("bad_response_status_code", "bad_response_status_code"), "rate_limited"),
    (500, err("empty_response", "new_api_error"), "empty_result"),
    (500, err("query_data_error", "new_api_error"), "server_error"),
    (500, err("anything_else", "upstream_error"), "server_error"),
    # the status alone
    (401, None, "key_rejected"),
    (403, None, "key_rejected"),
    (404, None, "bad_request"),
    (408, None, "timeout"),
    (413, None, "bad_request"),
    (422, err(message="Field required"), "bad_request"),
    (500, None, "lost_behind"),
    (502, None, "lost_behind"),
    (502, err(None, "server_error", "No available channel"), "lost_behind"),
    (503, None, "overloaded"),
    (504, None, "timeout"),
    (504, err(None, "server_error", "insufficient balance"), "timeout"),
    (520, None, "lost_behind"),
    (524, err(None, "upstream_error"), "lost_behind"),
    (529, None, "overloaded"),
    (599, None, "lost_behind"),
    (599, err(None, "server_error"), "server_error"),
]
