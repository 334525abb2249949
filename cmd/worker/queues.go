package main

import (
	"strconv"
	"strings"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/names"
)

// maxWeight bounds a queue's weight: beyond this a share is no share.
const maxWeight = 1000

// parseQueues reads "default=3,low=1"; a queue without a weight has 1.
func parseQueues(s string) (map[string]int, error) {
	queues := map[string]int{}
	for item := range strings.SplitSeq(s, ",") {
		name, text, weighted := strings.Cut(strings.TrimSpace(item), "=")
		if err := names.Queue(name); err != nil {
			return nil, cli.Usagef("--queues: %w", err)
		}
		weight := 1
		if weighted {
			var err error
			if weight, err = strconv.Atoi(text); err != nil || weight < 1 || weight > maxWeight {
				return nil, cli.Usagef("--queues: weight %q of %s: must be from 1 to %d", text, name, maxWeight)
			}
		}
		if _, twice := queues[name]; twice {
			return nil, cli.Usagef("--queues: %s is there twice", name)
		}
		queues[name] = weight
	}
	return queues, nil
}
