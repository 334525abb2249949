package bench

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// Every member takes 32 bytes of JSON and gives 32 bytes of JSON back, so the numbers in them keep their width whatever the member.
const (
	payloadBytes = 32
	firstIndex   = 10_000_000
	firstAddend  = 1_000_000
	maxMembers   = 9_000_000
)

type addArgs struct {
	Index int `json:"index"`
	Add   int `json:"add"`
}

type sum struct {
	Sum  int `json:"sum"`
	From int `json:"from"`
}

// add is what gatherq runs beside the references.
var add = jobs.Define[addArgs, sum]("bench.add")

func argsOf(member int) addArgs {
	return addArgs{Index: firstIndex + member, Add: firstAddend + member}
}

// add is the whole work of a member.
func (a addArgs) add() sum { return sum{Sum: a.Index + a.Add, From: a.Index} }

func handleAdd(_ context.Context, a addArgs) (sum, error) { return a.add(), nil }

// runAdd is what a reference's worker does with one task: decode, add, encode.
func runAdd(args []byte) ([]byte, error) {
	var a addArgs
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, fmt.Errorf("arguments %q: %w", args, err)
	}
	return json.Marshal(a.add())
}

func decodeSum(result []byte) (sum, error) {
	var s sum
	if err := json.Unmarshal(result, &s); err != nil {
		return sum{}, fmt.Errorf("result %q: %w", result, err)
	}
	return s, nil
}

// checkSums says whether every member's result is there and right.
func checkSums(sums []sum, members int) error {
	if len(sums) != members {
		return fmt.Errorf("%d results for %d members", len(sums), members)
	}
	for member, got := range sums {
		if want := argsOf(member).add(); got != want {
			return fmt.Errorf("member %d: result %+v, want %+v", member, got, want)
		}
	}
	return nil
}
