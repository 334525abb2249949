package tasks

import (
	"context"
	"encoding/json"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// Echo returns its arguments, byte for byte.
var Echo = jobs.Define[json.RawMessage, json.RawMessage]("echo")

func echo(_ context.Context, args json.RawMessage) (json.RawMessage, error) { return args, nil }
