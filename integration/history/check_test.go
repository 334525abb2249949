package history

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// good is a history that breaks no rule: tasks and a group are created, run, awaited by two processes, one of which is killed.
func good() []Event {
	const producer, other, worker, killed, test = 1, 2, 3, 4, 5
	ok := func(value string, delivery int) *Outcome {
		return &Outcome{State: "succeeded", Value: value, Attempt: 1, Delivery: delivery, Worker: "w"}
	}
	members := []Outcome{{ID: "g:0", Index: 0, State: "succeeded", Value: "x", Attempt: 1, Delivery: 1}, {ID: "g:1", Index: 1, State: "succeeded", Value: "y", Attempt: 1, Delivery: 2}}
	var events []Event
	op := map[int]int{}
	put := func(proc int, phase Phase, e Event) {
		if phase == Invoke {
			op[proc]++
		}
		e.Proc, e.Phase, e.Op, e.At = proc, phase, op[proc], int64(len(events)+1)*int64(time.Millisecond)
		events = append(events, e)
	}
	do := func(proc int, e, end Event) {
		put(proc, Invoke, e)
		end.Kind, end.ID = e.Kind, e.ID
		put(proc, OK, end)
	}
	put(test, Invoke, Event{Kind: Census, Count: map[string]int{"goroutines": 10}})
	do(producer, Event{Kind: Create, ID: "a", Want: []string{"va"}}, Event{})
	do(producer, Event{Kind: Gather, ID: "g", Want: []string{"x", "y"}}, Event{})
	put(producer, Invoke, Event{Kind: Create, ID: "b", Want: []string{"vb"}})
	put(producer, Info, Event{Kind: Create, ID: "b", Err: "indeterminate"})
	do(producer, Event{Kind: Create, ID: "b", Want: []string{"vb"}}, Event{})
	do(worker, Event{Kind: Run, ID: "a", Delivery: 1, Attempt: 1}, Event{})
	do(worker, Event{Kind: Run, ID: "b", Delivery: 1, Attempt: 1}, Event{})
	do(worker, Event{Kind: Run, ID: "g:0", Delivery: 1, Attempt: 1}, Event{})
	put(killed, Invoke, Event{Kind: Run, ID: "g:1", Delivery: 1, Attempt: 1})
	op[killed]++
	put(killed, Invoke, Event{Kind: Await, ID: "a", Limit: int64(time.Second)})
	op[test] = 1
	do(test, Event{Kind: Fault, Fault: "kill -9", Procs: []int{killed}}, Event{})
	do(worker, Event{Kind: Run, ID: "g:1", Delivery: 2, Attempt: 1}, Event{})
	do(producer, Event{Kind: Await, ID: "a", Limit: int64(time.Second)}, Event{Outcome: ok("va", 1)})
	do(producer, Event{Kind: Await, ID: "g", Limit: int64(time.Second)}, Event{Members: members})
	do(other, Event{Kind: Await, ID: "a", Limit: int64(time.Second)}, Event{Outcome: ok("va", 1)})
	put(other, Invoke, Event{Kind: Await, ID: "b", Limit: int64(time.Second)})
	put(other, Fail, Event{Kind: Await, ID: "b", Err: "unavailable"})
	do(test, Event{Kind: Read, ID: "b"}, Event{Outcome: ok("vb", 1)})
	do(test, Event{Kind: Keys}, Event{})
	op[test] = 1
	events = append(events, Event{At: int64(time.Second), Proc: test, Op: 1, Kind: Census, Phase: OK, Count: map[string]int{"goroutines": 10}})
	return events
}

// at returns the place of the n-th event of a kind, phase and ID, from 0.
func at(t *testing.T, events []Event, kind Kind, phase Phase, id string, n int) int {
	t.Helper()
	for i, e := range events {
		if e.Kind == kind && e.Phase == phase && e.ID == id {
			if n == 0 {
				return i
			}
			n--
		}
	}
	t.Fatalf("no %s %s of %q", kind, phase, id)
	return -1
}

func TestAGoodHistoryBreaksNoRule(t *testing.T) {
	bad, sum := Check(good())
	if len(bad) > 0 {
		t.Errorf("%v", bad)
	}
	want := Summary{Events: len(good()), Created: 3, Awaits: 5, Ended: 3, Runs: 5, Again: 1, Faults: 1, States: map[string]int{"succeeded": 4}}
	if !reflect.DeepEqual(sum, want) {
		t.Errorf("%+v, want %+v", sum, want)
	}
}

// Each rule is broken in each of the ways that it knows of, and that rule alone says so.
func TestEveryBrokenRuleIsFound(t *testing.T) {
	for name, tt := range map[string]struct {
		rule, says string
		damage     func(t *testing.T, h []Event) []Event
	}{
		"an acknowledged task has no end": {"I1", "b was acknowledged", func(t *testing.T, h []Event) []Event {
			i := at(t, h, Read, OK, "b", 0)
			h[i].Phase, h[i].Outcome, h[i].Err = Fail, nil, "unknown"
			return h
		}},
		"an acknowledged group was forgotten by everybody": {"I1", "g was acknowledged", func(t *testing.T, h []Event) []Event {
			return slices.DeleteFunc(h, func(e Event) bool { return e.Kind == Await && e.ID == "g" })
		}},
		"a member with an ID of its own has no end": {"I1", "own was acknowledged", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Gather, Invoke, "g", 0)].Own = map[string]string{"own": "x"}
			return h
		}},
		"a task is lost": {"I1", "b (member 0) ended as lost", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Read, OK, "b", 0)].Outcome = &Outcome{State: "lost", Err: "lost", Attempt: 1, Delivery: 1}
			return h
		}},
		"a task fails that has no reason to": {"I1", "b (member 0) ended as failed", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Read, OK, "b", 0)].Outcome = &Outcome{State: "failed", Err: "failed", Attempt: 1, Delivery: 1}
			return h
		}},
		"a member is out of time": {"I1", "g (member 1) ended as timed_out", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "g", 0)].Members[1].State = "timed_out"
			return h
		}},
		"what nobody cancels is cancelled": {"I1", "b (member 0) ended as cancelled", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Read, OK, "b", 0)].Outcome.State = "cancelled"
			return h
		}},
		"what is to fail does not": {"I1", "b (member 0) ended as succeeded", func(t *testing.T, h []Event) []Event {
			for n := range 2 {
				h[at(t, h, Create, Invoke, "b", n)].Ends = []string{"failed"}
			}
			return h
		}},
		"a crash loop of one death": {"I1", "g (member 1) ended as crash_loop", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "g", 0)].Members[1].State = "crash_loop"
			return h
		}},
		"a crash loop, and two of three deaths were before it": {"I1", "g (member 1) ended as crash_loop", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "g", 0)].Members[1].State = "crash_loop"
			return append(h, fault(Killed, 7, -2, -1)[0], fault(Killed, 8, 2e9, 2e9)[0])
		}},
		"an await of what was acknowledged says that it is lost": {"I1", "b was acknowledged, and an await after that ended as lost", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, Fail, "b", 0)].Err = "lost"
			return h
		}},
		"a record changes": {"I2", "two ends", func(t *testing.T, h []Event) []Event {
			return append(h, Event{At: 2e9, Proc: 9, Op: 1, Kind: Read, Phase: Invoke, ID: "a"},
				Event{At: 2e9, Proc: 9, Op: 1, Kind: Read, Phase: OK, ID: "a", Outcome: &Outcome{State: "failed", Attempt: 1, Delivery: 1}})
		}},
		"two that look at once see different ends": {"I2", "two ends", func(t *testing.T, h []Event) []Event {
			i := at(t, h, Await, Invoke, "a", 2)
			h[i].At = 1
			h[at(t, h, Await, OK, "a", 1)].Outcome.Worker = "another"
			return h
		}},
		"an await never ends": {"I3", "never ended", func(t *testing.T, h []Event) []Event {
			i := at(t, h, Await, OK, "a", 1)
			return slices.Delete(h, i, i+1)
		}},
		"an await never ends in a process that was stopped for a while": {"I3", "never ended", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Fault, Invoke, "", 0)].Fault = "stopped"
			return h
		}},
		"an await outlasts its limit": {"I3", "its limit was 1s", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "a", 1)].At += int64(time.Second + 2*grace)
			return h
		}},
		"an await ends with whatever": {"I3", "of no kind", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, Fail, "b", 0)].Err = "EOF"
			return h
		}},
		"a result is missing": {"I4", "1 results of 2 calls", func(t *testing.T, h []Event) []Event {
			i := at(t, h, Await, OK, "g", 0)
			h[i].Members = h[i].Members[:1]
			return h
		}},
		"results are in the order of their ends": {"I4", "is that of call", func(t *testing.T, h []Event) []Event {
			m := h[at(t, h, Await, OK, "g", 0)].Members
			m[0].Index, m[1].Index = 1, 0
			return h
		}},
		"a member has the value of another": {"I4", `is "y", the call's is "x"`, func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "g", 0)].Members[0].Value = "y"
			return h
		}},
		"more executions than deliveries": {"I5", "ran 2 times in 1 deliveries", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "g", 0)].Members[1].Delivery = 1
			return h
		}},
		"a delivery runs twice": {"I5", "delivery 2 of g:1 ran twice", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Run, Invoke, "g:1", 0)].Delivery = 2
			return h
		}},
		"a run is repeated that no fault took": {"I5", "no fault had taken it", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Fault, Invoke, "", 0)].Procs = nil
			return slices.DeleteFunc(h, func(e Event) bool { return e.Proc == 4 && e.Kind == Await })
		}},
		"a run is repeated that was over long before its process was killed": {"I5", "no fault had taken it", func(t *testing.T, h []Event) []Event {
			h = later(h, at(t, h, Fault, Invoke, "", 0), time.Minute)
			i := at(t, h, Run, Invoke, "g:1", 0)
			end := h[i]
			end.Phase = OK
			return slices.Insert(h, i+1, end)
		}},
		"a run is repeated that began long after its process had been stopped": {"I5", "no fault had taken it", func(t *testing.T, h []Event) []Event {
			h = slices.DeleteFunc(h, func(e Event) bool { return e.Proc == 4 && e.Kind == Await })
			h[at(t, h, Fault, Invoke, "", 0)].Procs = nil
			h = later(h, at(t, h, Run, Invoke, "g:1", 0), time.Minute)
			return append(fault("stopped", 4, -2, -1), h...)
		}},
		"a success that nobody ran": {"I5", "never ran", func(t *testing.T, h []Event) []Event {
			return slices.DeleteFunc(h, func(e Event) bool { return e.Kind == Run && e.ID == "a" })
		}},
		"a key is left": {"I6", "r:a is left", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Keys, OK, "", 0)].Left = []string{"r:a"}
			return h
		}},
		"goroutines stay": {"I7", "11 goroutines, there were 10", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Census, OK, "", 0)].Count = map[string]int{"goroutines": 11}
			return h
		}},
		"connections that nobody counted before": {"I7", "1 connections", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Census, OK, "", 0)].Count = map[string]int{"connections": 1}
			return h
		}},
		"a later await returns another outcome": {"I8", "returned another", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "a", 1)].Outcome.Delivery = 2
			return h
		}},
		"a later await knows nothing": {"I8", "ended as unknown", func(t *testing.T, h []Event) []Event {
			i := at(t, h, Await, OK, "a", 1)
			h[i].Phase, h[i].Outcome, h[i].Err = Fail, nil, "unknown"
			return h
		}},
		"an end without a beginning": {"form", "another or missing", func(t *testing.T, h []Event) []Event {
			i := at(t, h, Keys, Invoke, "", 0)
			return slices.Delete(h, i, i+1)
		}},
		"two ends of one operation": {"form", "ends twice", func(t *testing.T, h []Event) []Event {
			return append(h, h[at(t, h, Run, OK, "a", 0)])
		}},
		"a number used twice": {"form", "begins twice", func(t *testing.T, h []Event) []Event {
			return append(h, h[at(t, h, Run, Invoke, "a", 0)])
		}},
		"an outcome that shows nothing": {"form", "shows no outcome", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Await, OK, "a", 1)].Outcome = nil
			return h
		}},
		"an end of what nobody created": {"form", "never created", func(t *testing.T, h []Event) []Event {
			return slices.DeleteFunc(h, func(e Event) bool { return e.Kind == Create && e.ID == "a" })
		}},
		"an ID with two contents": {"form", "is created with", func(t *testing.T, h []Event) []Event {
			h[at(t, h, Create, Invoke, "b", 1)].Want = []string{"another"}
			h[at(t, h, Read, OK, "b", 0)].Outcome.Value = "another"
			return h
		}},
		"a kind that is none":  {"form", `kind "x"`, func(t *testing.T, h []Event) []Event { return append(h, Event{Op: 99, Phase: Invoke, Kind: "x"}) }},
		"a phase that is none": {"form", `phase "x"`, func(t *testing.T, h []Event) []Event { return append(h, Event{Op: 99, Phase: "x", Kind: Run}) }},
	} {
		t.Run(name, func(t *testing.T) {
			bad, _ := Check(tt.damage(t, good()))
			rules := map[string]bool{}
			found := false
			for _, v := range bad {
				rules[v.Rule] = true
				found = found || v.Rule == tt.rule && strings.Contains(v.What, tt.says)
			}
			if !found || len(rules) != 1 {
				t.Errorf("want %s alone, saying %q; got %v: %v", tt.rule, tt.says, slices.Sorted(maps.Keys(rules)), bad)
			}
		})
	}
}

// fault is one that was done to a process between two times.
func fault(name string, proc int, from, to int64) []Event {
	const test = 6
	return []Event{
		{At: from, Proc: test, Op: proc, Kind: Fault, Phase: Invoke, Fault: name, Procs: []int{proc}},
		{At: to, Proc: test, Op: proc, Kind: Fault, Phase: OK},
	}
}

// later moves all from one event on, as if nothing had happened for so long.
func later(h []Event, from int, by time.Duration) []Event {
	for i := from; i < len(h); i++ {
		h[i].At += int64(by)
	}
	return h
}

// What is no success breaks no rule where the creation allows it, or faults explain it.
func TestWhatIsAllowedBreaksNoRule(t *testing.T) {
	for name, change := range map[string]func(h []Event) []Event{
		"it is to fail, and does": func(h []Event) []Event {
			for n := range 2 {
				h[at(t, h, Create, Invoke, "b", n)].Ends = []string{"failed"}
			}
			h[at(t, h, Read, OK, "b", 0)].Outcome = &Outcome{State: "failed", Err: "failed", Attempt: 1, Delivery: 1}
			return h
		},
		"it may be cancelled, and is not": func(h []Event) []Event {
			h[at(t, h, Gather, Invoke, "g", 0)].Ends = []string{"cancelled", "succeeded"}
			return h
		},
		"a crash loop of three deaths": func(h []Event) []Event {
			i := at(t, h, Await, OK, "g", 0)
			h[i].Members[1].State = "crash_loop"
			from := h[at(t, h, Run, Invoke, "g:1", 0)].At
			return append(h, append(fault(Killed, 7, from, from), fault("stopped", 8, from, h[i].At)...)...)
		},
		"a run ended a moment before its process was killed": func(h []Event) []Event {
			i := at(t, h, Run, Invoke, "g:1", 0)
			end := h[i]
			end.Phase = OK
			return slices.Insert(h, i+1, end)
		},
		"a run began when its process was let go": func(h []Event) []Event {
			h = slices.DeleteFunc(h, func(e Event) bool { return e.Proc == 4 && e.Kind == Await })
			h[at(t, h, Fault, Invoke, "", 0)].Procs = nil
			from := h[at(t, h, Run, Invoke, "g:1", 0)].At
			return append(fault("stopped", 4, -2, from-1), h...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if bad, _ := Check(change(good())); len(bad) > 0 {
				t.Errorf("%v", bad)
			}
		})
	}
}

func TestWhatIsRecordedIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	op := r.Begin(Event{Kind: Create, ID: "a", Want: []string{"v"}})
	if h, err := Load(path); err != nil || len(h) != 1 || h[0].Phase != Invoke {
		t.Fatalf("the first event is not there before the operation: %v, %v", h, err)
	}
	op.End(Info, Event{Err: "indeterminate"})
	r.Note(Event{Kind: Fault, Fault: "kill -9", Procs: []int{7}})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := Load(path)
	if err != nil || len(h) != 4 {
		t.Fatalf("%v, %v", h, err)
	}
	if h[1].Phase != Info || h[1].ID != "a" || h[1].Kind != Create || h[1].Op != h[0].Op || h[1].At < h[0].At || h[1].Proc != h[0].Proc {
		t.Errorf("%+v behind %+v", h[1], h[0])
	}
	if h[2].Op == h[0].Op || h[3].Phase != OK || !slices.Equal(h[2].Procs, []int{7}) {
		t.Errorf("%+v, %+v", h[2], h[3])
	}
	defer func() {
		if recover() == nil {
			t.Error("what cannot be written is no panic")
		}
	}()
	op.End(OK, Event{})
}
