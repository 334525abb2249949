package bench

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// textBytes is the JSON of arguments and results where their size matters.
const textBytes = 100

// text returns a text that no compression makes much shorter, for each i another one, the same in every run.
func text(i, length int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	rnd := rand.NewPCG(uint64(i), 1)
	b := make([]byte, length)
	bits, left := uint64(0), 0
	for j := range b {
		if left == 0 {
			bits, left = rnd.Uint64(), 10
		}
		b[j] = letters[bits&63]
		bits, left = bits>>6, left-1
	}
	return string(b)
}

// echoedText is echo of cmd/worker for texts.
var echoedText = jobs.Define[string, string]("echo")

// pageArgs are the arguments of page: 100 bytes of JSON where MS is one digit.
type pageArgs struct {
	MS   int    `json:"ms"`
	Text string `json:"text"`
}

func pageOf(i, ms int) pageArgs {
	return pageArgs{MS: ms, Text: text(i, textBytes-len(`{"ms":0,"text":""}`))}
}

// page returns the bytes that it was given, at once or after a while.
var page = jobs.Define[json.RawMessage, json.RawMessage]("bench.page")

func handlePage(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var a pageArgs
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	if a.MS == 0 {
		return raw, nil
	}
	return raw, pause(ctx, time.Duration(a.MS)*time.Millisecond)
}
