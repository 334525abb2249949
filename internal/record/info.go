package record

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"
)

// Info is all that is known of a task or group but its arguments and results.
type Info struct {
	ID           string
	IsGroup      bool
	Type, Queue  string
	Group        string // of a member that travels alone
	Index        int
	State        State // "": unknown
	Attempt      int   // 1 + charged failures
	Number       int64
	Crashes      int
	Options      []byte
	Worker       string
	CancelReason *Failure
	CancelAt     time.Time
	Failure      *Failure
	RetryOf      string
	Marked       bool // its delivery is in asynq's queue, as far as is known
	Members      int
	MaxRunning   int           // of a group: how many members may run at once; 0: no bound
	Permits      int           // of these: held
	Queueing     bool          // of a member that travels alone: it waits for a permit
	Counts       map[State]int // of a group's members
	Now          time.Time     // Redis' clock
	QueuedAt     time.Time
	DueAt        time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
	Deadline     time.Time
	PendingUntil time.Time // it must have started by then
	ExpiresAt    time.Time // zero while it is open
}

// Look reads all that is known of a task or group. A member that does not travel alone has no record of its own: use Watch.
func (s *Store) Look(ctx context.Context, id string) (Info, error) {
	r := s.run(ctx, infoScript, s.keys.PrefixOf(id), id)
	in := Info{ID: id}
	switch r.Str() {
	case "unknown":
		return in, r.Err
	case "expired":
		in.State = Expired
		return in, r.Err
	}
	in.Now = r.Time()
	if ttl := r.Int(); ttl > 0 {
		in.ExpiresAt = in.Now.Add(time.Duration(ttl) * time.Millisecond)
	}
	f := map[string]string{}
	for r.More() {
		name := r.Str()
		f[name] = r.Str()
	}
	if r.Err != nil {
		return in, r.Err
	}
	num := func(name string) int64 { n, _ := strconv.ParseInt(f[name], 10, 64); return n }
	in.IsGroup = f["k"] == "g"
	in.Type, in.Queue, in.Group, in.Index = f["ty"], f["q"], f["g"], int(num("gi"))
	in.State, in.Attempt, in.Number, in.Crashes = State(f["s"]), int(num("at"))+1, num("n"), int(num("cr"))
	in.Options, in.Worker, in.RetryOf, in.Marked = []byte(f["op"]), cmp.Or(f["h"], f["wk"]), f["rq"], f["mk"] != "" && f["mk"] != "0" || f["h"] != ""
	in.CancelReason, in.CancelAt = DecodeFailure([]byte(f["c"])), msTime(num("cq"))
	in.Failure = DecodeFailure([]byte(f["e"]))
	in.QueuedAt, in.DueAt, in.StartedAt, in.FinishedAt = msTime(num("qa")), msTime(cmp.Or(num("du"), num("qa"))), msTime(num("sa")), msTime(num("fa"))
	in.Deadline, in.PendingUntil = msTime(num("dl")), msTime(num("mp"))
	in.Queueing = f["pt"] == "w"
	if in.State == Running && in.CancelReason != nil {
		in.State = Cancelling
	}
	if in.IsGroup {
		in.group(f, num)
	}
	return in, nil
}

func (in *Info) group(f map[string]string, num func(string) int64) {
	in.Failure = DecodeFailure([]byte(f["oe"]))
	in.Members, in.Counts = int(num("n")), map[State]int{}
	in.MaxRunning, in.Permits = int(num("mr")), int(num("pm"))
	open := in.Members
	for name, v := range f {
		if state, ok := strings.CutPrefix(name, "n:"); ok {
			n, _ := strconv.Atoi(v)
			in.Counts[State(state)] = n
			open -= n
		}
	}
	if running := int(num("running")); running > 0 {
		in.Counts[Running] = running
		open -= running
		if in.State == Pending {
			in.State = Running
		}
	}
	if open > 0 {
		in.Counts[Pending] = open
	}
	if in.CancelReason != nil && f["bs"] == "" && !in.State.Final() {
		in.State = Cancelling
	}
	in.Number = 0
}
