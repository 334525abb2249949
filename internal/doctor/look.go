package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// look is one reading of a namespace.
type look struct {
	conn *conn.Conn
	keys keys.Space
	now  time.Time // by Redis' clock

	workers map[string]time.Time // last beats
	waits   map[record.Ref]bool  // references of deliveries that asynq has to hand out: tasks
	tickets map[record.Ticket]bool
	nonces  map[string]bool // of groups
	staged  map[string]bool // keys of arguments that do not expire, by their nonce

	unjudged []waiting // deliveries

	found                          []Finding
	keysSeen, openSeen, deliveries int
}

func newLook(c *conn.Conn, k keys.Space) *look {
	return &look{
		conn: c, keys: k, workers: make(map[string]time.Time), waits: make(map[record.Ref]bool), tickets: make(map[record.Ticket]bool),
		nonces: make(map[string]bool), staged: make(map[string]bool),
	}
}

func (l *look) find(kind Kind, subject, format string, args ...any) {
	l.found = append(l.found, Finding{Kind: kind, Subject: subject, Detail: fmt.Sprintf(format, args...)})
}

// run reads the workers, then the deliveries, then all keys: whoever waits for a delivery was seen after it.
func (l *look) run(ctx context.Context) error {
	clock, list := conn.NewCommand("time"), conn.NewCommand("zrange", l.keys.Workers(), 0, -1, "withscores")
	if err := l.conn.All(ctx, clock, list); err != nil {
		return err
	}
	t := record.NewReply(clock.Reply, nil)
	l.now = time.Unix(t.Int(), 0)
	for _, p := range pairs(list.Reply) {
		at, _ := strconv.ParseFloat(p[1], 64)
		beat := time.UnixMilli(int64(at))
		l.workers[p[0]] = beat
		if l.now.Sub(beat) > alive {
			l.find(WorkerDead, p[0], "its last beat was %s ago", l.now.Sub(beat).Round(time.Second))
		}
	}
	if err := l.readQueues(ctx); err != nil {
		return err
	}
	if err := l.scan(ctx); err != nil {
		return err
	}
	for nonce := range l.staged {
		if !l.nonces[nonce] {
			l.find(StagingLeft, nonce, "arguments that no group has, without a time to live")
		}
	}
	return nil
}

// lives reports whether a worker beats.
func (l *look) lives(worker string) bool {
	beat, ok := l.workers[worker]
	return ok && l.now.Sub(beat) <= alive
}

// scan reads all keys of the namespace, page by page; in a cluster of each master.
func (l *look) scan(ctx context.Context) error {
	var mu sync.Mutex
	pages := func(ctx context.Context, c redis.Cmdable) error {
		for cursor := uint64(0); ; {
			names, next, err := c.Scan(ctx, cursor, l.keys.Pattern(), page).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			err = l.page(ctx, names)
			mu.Unlock()
			if err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	if cluster, ok := l.conn.Redis().(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return pages(ctx, c) })
	}
	return pages(ctx, l.conn.Redis())
}

// asked is a call, and what is to be done with its answer.
type asked struct {
	call *conn.Call
	then func(reply any)
}

// ask sends calls, a part at a time, and deals with their answers in their order.
func (l *look) ask(ctx context.Context, list []asked) error {
	for len(list) > 0 {
		n := min(len(list), readings)
		calls := make([]*conn.Call, n)
		for i := range calls {
			calls[i] = list[i].call
		}
		if err := l.conn.Do(ctx, calls...); err != nil {
			return err
		}
		for i, call := range calls {
			switch {
			case call.Err == nil:
				list[i].then(call.Reply)
			case redis.HasErrorPrefix(call.Err, "WRONGTYPE"):
				l.find(KeyUnknown, fmt.Sprint(call.Args[1]), "it is of another type than it must be")
			default:
				return call.Err
			}
		}
		list = list[n:]
	}
	return nil
}

// page looks at some keys.
func (l *look) page(ctx context.Context, names []string) error {
	var list []asked
	seen := make(map[string]bool, len(names))
	for _, key := range names {
		n, ours, known := l.keys.Parse(key)
		if !ours || seen[key] { // SCAN may name one twice
			continue
		}
		seen[key] = true
		l.keysSeen++
		if !known {
			l.find(KeyUnknown, key, "this version has no such key")
			continue
		}
		more, err := l.key(ctx, key, n)
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	return l.ask(ctx, list)
}

// key looks at one key, or returns what is to be asked about it.
func (l *look) key(ctx context.Context, key string, n keys.Name) ([]asked, error) {
	switch n.Kind {
	case "r":
		return nil, l.record(ctx, key, n)
	case "z", "u":
		return []asked{{conn.NewCommand("pttl", key), func(reply any) {
			if reply == int64(-1) {
				l.find(NoTTL, key, "it stays for ever")
			}
		}}}, nil
	case "a":
		nonce, _, _ := strings.Cut(n.Of, ":")
		return []asked{{conn.NewCommand("pttl", key), func(reply any) {
			if reply == int64(-1) {
				l.staged[nonce] = true
			}
		}}}, nil
	case "v", "i":
		return l.partOf(key, n.Of[:max(strings.LastIndexByte(n.Of, ':'), 0)]), nil
	case "y", "p", "f", "m":
		return l.partOf(key, n.Of), nil
	case "x":
		return l.partOf(key, n.Of), l.ranges(ctx, key, n.Of)
	case "open":
		return nil, l.index(ctx, key)
	case "outbox":
		return nil, l.outbox(ctx, key)
	case "h":
		return nil, l.holdings(ctx, key, n)
	}
	return nil, nil
}

// partOf asks whether a key of a group's expires, or its group is open.
func (l *look) partOf(key, group string) []asked {
	expires := false
	return []asked{
		{conn.NewCommand("pttl", key), func(reply any) { expires = reply != int64(-1) }},
		{conn.NewCommand("hmget", l.keys.Record(group), "k", "bs"), func(reply any) {
			f := fields(reply)
			switch {
			case expires:
			case f[0] == "":
				l.find(KeyOrphan, key, "group %s is not there, and it does not expire", group)
			case f[1] != "":
				l.find(NoTTL, key, "group %s has ended, and it does not expire", group)
			}
		}},
	}
}

// each reads a hash, set or sorted set page by page: f gets the words of each answer.
func (l *look) each(ctx context.Context, command, key string, f func(words []string) error) error {
	for cursor := "0"; ; {
		call := conn.NewCommand(command, key, cursor, "count", page)
		if err := l.conn.Do(ctx, call); err != nil {
			return err
		}
		if redis.HasErrorPrefix(call.Err, "WRONGTYPE") {
			l.find(KeyUnknown, key, "it is of another type than it must be")
			return nil
		}
		if call.Err != nil {
			return call.Err
		}
		reply, _ := call.Reply.([]any)
		if len(reply) != 2 {
			return errors.New(command + " answered in another form")
		}
		if err := f(fields(reply[1])); err != nil {
			return err
		}
		if cursor = fmt.Sprint(reply[0]); cursor == "0" {
			return nil
		}
	}
}

// fields are the strings of a list, "" for what is not there.
func fields(reply any) []string {
	list, _ := reply.([]any)
	out := make([]string, len(list))
	for i, v := range list {
		if v != nil {
			out[i] = fmt.Sprint(v)
		}
	}
	return out
}

// pairs are the members and scores that WITHSCORES answers, flat or as pairs.
func pairs(reply any) (out [][2]string) {
	list, _ := reply.([]any)
	for i := 0; i < len(list); i++ {
		if pair, ok := list[i].([]any); ok && len(pair) == 2 {
			out = append(out, [2]string{fmt.Sprint(pair[0]), fmt.Sprint(pair[1])})
		} else if i+1 < len(list) {
			out = append(out, [2]string{fmt.Sprint(list[i]), fmt.Sprint(list[i+1])})
			i++
		}
	}
	return out
}
