// The answers' schemas, by hand: tests hold real answers against them.
#include "server/openapi.h"

namespace pagoda::server {

namespace {

constexpr const char* kSchemas = R"json({
"Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "object",
  "required": ["message", "type", "param", "code"], "properties": {"message": {"type": "string"}, "type": {"type": "string"},
    "param": {"type": ["string", "null"]}, "code": {"type": ["integer", "string"]}}}}},
"Version": {"type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}},
"OpenApi": {"type": "object", "required": ["openapi", "info", "paths"], "properties": {"openapi": {"type": "string"}}},
"LiveState": {"type": "object", "required": ["seconds", "model", "running", "waiting", "steps", "cache", "requests"], "properties": {
  "seconds": {"type": "number"}, "model": {"type": "object", "required": ["name"]}, "running": {"type": "integer"}, "waiting": {"type": "integer"},
  "steps": {"type": "integer"}, "cache": {"type": "object", "required": ["page_tokens", "pages", "used", "whole", "runs"],
    "properties": {"runs": {"type": "array"}}}, "requests": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}}},
"Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"type": "string"},
  "root": {"type": "string"}, "parent": {"type": "null"}, "max_model_len": {"type": "integer"}}},
"ModelList": {"type": "object", "required": ["object", "data"], "properties": {"object": {"const": "list"}, "data":
  {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}},
"Tokenized": {"type": "object", "required": ["count", "max_model_len", "tokens", "token_strs"], "properties": {
  "count": {"type": "integer"}, "max_model_len": {"type": "integer"}, "tokens": {"$ref": "#/components/schemas/TokenIds"},
  "token_strs": {"type": ["array", "null"], "items": {"type": "string"}}}},
"Detokenized": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
"TokenIds": {"type": "array", "items": {"type": "integer", "minimum": 0}},
"Usage": {"type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens"], "properties": {
  "prompt_tokens": {"type": "integer", "minimum": 0}, "completion_tokens": {"type": "integer", "minimum": 0},
  "total_tokens": {"type": "integer", "minimum": 0}, "prompt_tokens_details": {"type": ["object", "null"],
    "properties": {"cached_tokens": {"type": "integer", "minimum": 0}}}}},
"EmbeddingList": {"type": "object", "required": ["object", "data", "model", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "data": {"type": "array", "items": {"type": "object", "required": ["index", "object", "embedding"], "properties": {
    "index": {"type": "integer", "minimum": 0}, "object": {"const": "embedding"}, "embedding": {"anyOf": [
      {"type": "array", "items": {"type": "number"}}, {"type": "string", "contentEncoding": "base64"}]}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}}},
"Reranked": {"type": "object", "required": ["id", "model", "usage", "results"], "properties": {"id": {"type": "string"},
  "model": {"type": "string"}, "usage": {"$ref": "#/components/schemas/Usage"}, "results": {"type": "array", "items":
    {"type": "object", "required": ["index", "relevance_score"], "properties": {"index": {"type": "integer", "minimum": 0},
      "relevance_score": {"type": "number"}, "document": {"type": "object", "required": ["text"], "properties": {"text":
        {"type": "string"}}}}}}}},
"ScoreList": {"type": "object", "required": ["id", "object", "created", "model", "data", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "data": {"type": "array", "items": {"type": "object", "required": ["index", "object", "score"], "properties": {
    "index": {"type": "integer", "minimum": 0}, "object": {"const": "score"}, "score": {"type": "number"}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}}},
"ClassificationList": {"type": "object", "required": ["id", "object", "created", "model", "data", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "data": {"type": "array", "items": {"type": "object", "required": ["index", "label", "probs", "num_classes"], "properties": {
    "index": {"type": "integer", "minimum": 0}, "label": {"type": "string"}, "probs": {"type": "array", "items": {"type":
      "number"}}, "num_classes": {"type": "integer", "minimum": 1}}}}, "usage": {"$ref": "#/components/schemas/Usage"}}},
"TaskResult": {"type": ["object", "array"]},
"FinishReason": {"enum": ["stop", "length", "repetition", "tool_calls", null]},
"StopReason": {"type": ["integer", "string", "null"]},
"PromptLogprobs": {"type": "array", "items": {"type": ["object", "null"], "additionalProperties": {"type": "object",
  "required": ["logprob", "rank", "decoded_token"], "properties": {"logprob": {"type": "number"}, "rank": {"type": "integer",
    "minimum": 1}, "decoded_token": {"type": "string"}}}}},
"CompletionLogprobs": {"type": ["object", "null"], "required": ["text_offset", "token_logprobs", "tokens", "top_logprobs"],
  "properties": {"text_offset": {"type": "array", "items": {"type": "integer"}}, "token_logprobs": {"type": "array",
    "items": {"type": ["number", "null"]}}, "tokens": {"type": "array", "items": {"type": "string"}}, "top_logprobs":
    {"type": "array", "items": {"type": ["object", "null"], "additionalProperties": {"type": "number"}}}}},
"CompletionChoice": {"type": "object", "required": ["index", "text", "logprobs", "finish_reason", "stop_reason"],
  "properties": {"index": {"type": "integer", "minimum": 0}, "text": {"type": "string"},
    "logprobs": {"$ref": "#/components/schemas/CompletionLogprobs"},
    "finish_reason": {"$ref": "#/components/schemas/FinishReason"}, "stop_reason": {"$ref": "#/components/schemas/StopReason"},
    "token_ids": {"$ref": "#/components/schemas/TokenIds"}, "prompt_token_ids": {"$ref": "#/components/schemas/TokenIds"},
    "prompt_logprobs": {"$ref": "#/components/schemas/PromptLogprobs"}}},
"Completion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "choices": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/CompletionChoice"}},
  "usage": {"$ref": "#/components/schemas/Usage"}}},
"CompletionChunk": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
  "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "choices": {"type": "array", "items": {"$ref": "#/components/schemas/CompletionChoice"}},
  "usage": {"$ref": "#/components/schemas/Usage"}}},
"ChatLogprob": {"type": "object", "required": ["token", "logprob", "bytes"], "properties": {"token": {"type": "string"},
  "logprob": {"type": "number"}, "bytes": {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0,
    "maximum": 255}}}},
"ChatLogprobs": {"type": ["object", "null"], "required": ["content"], "properties": {"content": {"type": ["array", "null"],
  "items": {"allOf": [{"$ref": "#/components/schemas/ChatLogprob"}, {"type": "object", "required": ["top_logprobs"],
    "properties": {"top_logprobs": {"type": "array", "items": {"$ref": "#/components/schemas/ChatLogprob"}}}}]}}}},
"ChatCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "choices": {"type": "array", "minItems": 1, "items": {"type": "object",
    "required": ["index", "message", "logprobs", "finish_reason", "stop_reason"], "properties": {
      "index": {"type": "integer", "minimum": 0}, "message": {"type": "object", "required": ["role", "content"], "properties": {
        "role": {"type": "string"}, "content": {"type": ["string", "null"]}, "reasoning": {"type": ["string", "null"]},
        "tool_calls": {"type": "array", "items": {"$ref": "#/components/schemas/ToolCall"}}}},
      "logprobs": {"$ref": "#/components/schemas/ChatLogprobs"}, "finish_reason": {"$ref": "#/components/schemas/FinishReason"},
      "stop_reason": {"$ref": "#/components/schemas/StopReason"}, "token_ids": {"$ref": "#/components/schemas/TokenIds"}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}, "prompt_logprobs": {"$ref": "#/components/schemas/PromptLogprobs"},
  "prompt_token_ids": {"$ref": "#/components/schemas/TokenIds"}, "prompt_text": {"type": "string"}}},
"ChatCompletionChunk": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
  "id": {"type": "string"}, "object": {"const": "chat.completion.chunk"}, "created": {"type": "integer"},
  "model": {"type": "string"}, "choices": {"type": "array", "items": {"type": "object",
    "required": ["index", "delta", "logprobs", "finish_reason"], "properties": {
      "index": {"type": "integer", "minimum": 0}, "delta": {"type": "object", "properties": {"role": {"type": "string"},
        "content": {"type": ["string", "null"]}, "reasoning": {"type": "string"}, "tool_calls": {"type": "array", "items":
          {"type": "object", "required": ["index", "function"], "properties": {"index": {"type": "integer", "minimum": 0},
            "id": {"type": "string"}, "type": {"const": "function"}, "function": {"type": "object", "required": ["arguments"],
              "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}}}}}}}}, "logprobs": {"$ref": "#/components/schemas/ChatLogprobs"},
      "finish_reason": {"$ref": "#/components/schemas/FinishReason"},
      "stop_reason": {"$ref": "#/components/schemas/StopReason"}, "token_ids": {"$ref": "#/components/schemas/TokenIds"}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}, "prompt_text": {"type": "string"}}},
"ToolCall": {"type": "object", "required": ["id", "type", "function"], "properties": {"id": {"type": "string"},
  "type": {"const": "function"}, "function": {"type": "object", "required": ["name", "arguments"], "properties": {
    "name": {"type": "string"}, "arguments": {"type": "string"}}}}},
"ResponseItem": {"type": "object", "required": ["id", "type"], "properties": {"id": {"type": "string"},
  "type": {"enum": ["message", "reasoning", "function_call"]}, "status": {"enum": ["in_progress", "completed", "incomplete"]},
  "role": {"const": "assistant"}, "content": {"type": "array", "items": {"type": "object", "required": ["type", "text"],
    "properties": {"type": {"enum": ["output_text", "reasoning_text"]}, "text": {"type": "string"}}}},
  "call_id": {"type": "string"}, "name": {"type": "string"}, "arguments": {"type": "string"}}},
"Response": {"type": "object", "required": ["id", "object", "created_at", "status", "model", "output", "usage"], "properties": {
  "id": {"type": "string"}, "object": {"const": "response"}, "created_at": {"type": "integer"}, "model": {"type": "string"},
  "status": {"enum": ["in_progress", "completed", "incomplete", "failed", "cancelled"]},
  "output": {"type": "array", "items": {"$ref": "#/components/schemas/ResponseItem"}}, "usage": {"type": ["object", "null"]}}},
"ResponseEvent": {"type": "object", "required": ["type", "sequence_number"], "properties": {"type": {"type": "string"},
  "sequence_number": {"type": "integer", "minimum": 0}}},
"ResponseDeleted": {"type": "object", "required": ["id", "object", "deleted"], "properties": {"id": {"type": "string"},
  "object": {"const": "response"}, "deleted": {"const": true}}}
})json";

}  // namespace

const Json& openapi_schemas() {
  static const Json schemas = Json::parse(kSchemas, "openapi");
  return schemas;
}

}  // namespace pagoda::server
