package carrier

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// Fate is what has become of a message.
type Fate byte

// The fates of a message.
const (
	There    Fate = iota // in its queue, or soon back in it; also while the queue is paused
	Taken                // in the hands of some server
	Archived             // by hand
	Gone                 // deleted, or done with
	Astray               // still known to asynq, but where none of our servers will take it soon: another's failed on it
)

//go:embed lua/fate.lua
var fateSrc string

//go:embed lua/discard.lua
var discardSrc string

var (
	fateScript    = conn.NewForeignScript("carrier.fate", fateSrc)
	discardScript = conn.NewForeignScript("carrier.discard", discardSrc)
)

const (
	// ownRetry is for how long our own server keeps a message that it could not deliver: twice its RetryDelayFunc, and the rounds of
	// asynq's clock. Another's, by asynq's default, takes 15 s at least.
	ownRetry = 5 * time.Second

	// shortList is the length up to which a pending list is read to see what is in it.
	shortList = 1000
)

// Fates says what has become of messages of a queue, some hundred at most. It takes one script.
func (c *Carrier) Fates(ctx context.Context, queue string, ids []string) ([]Fate, error) {
	args := make([]any, 0, 2+len(ids))
	args = append(args, time.Now().Add(ownRetry).Unix(), shortList) // asynq's clock is each process' own
	for _, id := range ids {
		args = append(args, id)
	}
	call := &conn.Call{Script: fateScript, Keys: []string{asynqPrefix(c.keys.AsynqQueue(queue))}, Args: args}
	if err := c.conn.All(ctx, call); err != nil {
		return nil, fmt.Errorf("queue %s: %w", queue, err)
	}
	list, _ := call.Reply.([]any)
	if len(list) != len(ids) {
		return nil, fmt.Errorf("queue %s: %d answers for %d messages", queue, len(list), len(ids))
	}
	fates := make([]Fate, len(list))
	for i, v := range list {
		switch v := v.(type) {
		case string:
			fates[i] = map[string]Fate{"there": There, "taken": Taken, "gone": Gone, "astray": Astray}[v]
		case []any:
			fates[i] = Archived
			if text, _ := v[len(v)-1].(string); failedElsewhere([]byte(text)) {
				fates[i] = Astray
			}
		}
	}
	return fates, nil
}

// failedElsewhere reports whether a server has tried a message of asynq's and counted that as a failure. Ours counts none.
func failedElsewhere(msg []byte) (failed bool) {
	walk(msg, func(uint64, []byte) bool { return true }, func(number, value uint64) {
		failed = failed || number == 11 && value != 0 // last_failed_at
	})
	return failed
}

// Discard removes messages that are Astray and that nobody waits for any more. What is archived stays for whoever looks at it.
func (c *Carrier) Discard(ctx context.Context, queue string, ids []string) error {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	return c.conn.All(ctx, &conn.Call{Script: discardScript, Keys: []string{asynqPrefix(c.keys.AsynqQueue(queue))}, Args: args})
}
