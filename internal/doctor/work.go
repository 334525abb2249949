package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// mostTickets is how many a group has at most.
const mostTickets = 32

// record looks at the record of a task or group.
func (l *look) record(ctx context.Context, key string, n keys.Name) error {
	args := []any{"hmget", key, "k", "s", "n", "h", "mk", "bs", "lt", "cs", "sn", "no", "ts", "bd", "c"}
	const fixed = 13
	for place := range mostTickets {
		args = append(args, "t"+strconv.Itoa(place))
	}
	read, ttl := conn.NewCommand(args...), conn.NewCommand("pttl", key)
	score, returned := conn.NewCommand("zscore", l.keys.Open(n.Shard), n.Of), conn.NewCommand("llen", l.keys.Prefix(n.Shard)+"y:"+n.Of)
	if err := l.conn.All(ctx, read, ttl, score, returned); err != nil {
		return err
	}
	f := fields(read.Reply)
	if f[0] == "" {
		return nil // gone meanwhile
	}
	expires, indexed := ttl.Reply != int64(-1), score.Reply != nil
	ended := f[5] != ""
	if f[0] == "t" {
		ended = record.State(f[1]).Final()
	} else {
		l.nonces[f[9]] = true
	}
	switch {
	case ended && !expires:
		l.find(NoTTL, n.Of, "it has ended as %s and does not expire", f[1])
	case !ended && expires:
		l.find(OpenExpires, n.Of, "it is %s and has a time to live", f[1])
	}
	switch {
	case ended && indexed:
		l.find(OpenOrphan, n.Of, "it has ended as %s and stands in the index of open work", f[1])
	case !ended && !indexed:
		l.find(OpenUnindexed, n.Of, "it is %s and not in the index of open work", f[1])
	}
	if ended {
		return nil
	}
	l.openSeen++
	if f[0] == "t" {
		return l.task(ctx, n, f)
	}
	return l.group(ctx, n, f, f[fixed:], returned.Reply != int64(0))
}

func (l *look) task(ctx context.Context, n keys.Name, f []string) error {
	number, _ := strconv.ParseInt(f[2], 10, 64)
	switch {
	case f[3] != "":
		return l.held(ctx, n.Shard, f[3], n.Of, n.Of)
	case f[1] == string(record.Pending) && marked(f[4]) && !l.waits[record.Ref{ID: n.Of, Number: number}]:
		l.find(DeliveryMissing, n.Of, "asynq has no delivery %d of it", number)
	}
	return nil
}

// marked reports whether a mark is the ID of a message in asynq: not one that comes later (0), or only with a permit (p).
func marked(mark string) bool { return mark != "" && mark != "0" && mark != "p" }

// held looks after something that the records say a worker holds: the worker lives, and its list names it.
func (l *look) held(ctx context.Context, shard int, worker, item, subject string) error {
	if !l.lives(worker) {
		l.find(HolderDead, subject, "worker %s does not beat", worker)
	}
	call := conn.NewCommand("sismember", l.keys.Holdings(shard, worker), item)
	if err := l.conn.All(ctx, call); err != nil {
		return err
	}
	if call.Reply != int64(1) {
		l.find(HoldingMissing, subject, "worker %s holds it, and its holdings do not name it", worker)
	}
	return nil
}

func (l *look) group(ctx context.Context, n keys.Name, f, tickets []string, returned bool) error {
	live := 0
	for place, text := range tickets {
		if text == "" {
			continue
		}
		live++
		p := strings.Split(text, ";") // number;holder;nonce;range;message
		if len(p) != 5 {
			return fmt.Errorf("ticket %d of %s: %q", place, n.Of, text)
		}
		number, _ := strconv.ParseInt(p[0], 10, 64)
		name := fmt.Sprintf("%s#%d", n.Of, place)
		switch {
		case p[1] != "":
			if err := l.held(ctx, n.Shard, p[1], fmt.Sprintf("t|%s|%d", n.Of, place), name); err != nil {
				return err
			}
		case marked(p[4]) && !l.tickets[record.Ticket{Group: n.Of, Nonce: f[9], Place: place, Number: number}]:
			l.find(DeliveryMissing, name, "asynq has no delivery %d of the ticket", number)
		}
	}
	from, _ := strconv.Atoi(f[7])
	to, _ := strconv.Atoi(f[8])
	if f[10] != "" && f[11] == "" && f[12] == "" && live == 0 && (from < to || returned) {
		l.find(GroupStuck, n.Of, "members are unclaimed, and there is no ticket")
	}
	return nil
}

// ranges looks at the open ranges of a group.
func (l *look) ranges(ctx context.Context, key, group string) error {
	return l.each(ctx, "hscan", key, func(words []string) error {
		for i := 0; i+1 < len(words); i += 2 {
			id, value := words[i], words[i+1]
			if id == "" || id[0] < '0' || id[0] > '9' {
				continue // a member that travels alone, or is from elsewhere
			}
			p := strings.Split(value, ";") // from;to;number;crashes;holder;…
			if len(p) < 5 {
				return fmt.Errorf("open range %s of %s: %q", id, group, value)
			}
			name := fmt.Sprintf("%s[%s,%s)", group, p[0], p[1])
			if err := l.held(ctx, l.keys.Shard(group), p[4], fmt.Sprintf("x|%s|%s", group, id), name); err != nil {
				return err
			}
		}
		return nil
	})
}

// index looks at a shard's index of open work.
func (l *look) index(ctx context.Context, key string) error {
	return l.each(ctx, "zscan", key, func(words []string) error {
		var list []asked
		for i := 0; i+1 < len(words); i += 2 {
			entry := words[i]
			score, err := strconv.ParseFloat(words[i+1], 64)
			if err != nil {
				return fmt.Errorf("score %q of %s: %w", words[i+1], entry, err)
			}
			if at := time.UnixMilli(int64(min(score, far))); score < far && l.now.Sub(at) > late {
				l.find(Overdue, entry, "it was to be looked at %s ago", l.now.Sub(at).Round(time.Second))
			}
			if place, group, ok := ticketEntry(entry); ok {
				list = append(list, asked{conn.NewCommand("hexists", l.keys.Record(group), "t"+place), func(reply any) {
					if reply != int64(1) {
						l.find(OpenOrphan, entry, "the group has no such ticket")
					}
				}})
				continue
			}
			list = append(list, asked{conn.NewCommand("exists", l.keys.Record(entry)), func(reply any) {
				if reply != int64(1) {
					l.find(OpenOrphan, entry, "there is no record of it")
				}
			}})
		}
		return l.ask(ctx, list)
	})
}

// ticketEntry takes "#place:group" apart.
func ticketEntry(entry string) (place, group string, ok bool) {
	rest, ok := strings.CutPrefix(entry, "#")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}

// outbox looks for ends that nobody tells.
func (l *look) outbox(ctx context.Context, key string) error {
	return l.each(ctx, "hscan", key, func(words []string) error {
		for i := 0; i+1 < len(words); i += 2 {
			// The time comes first, as "<length>:<digits>".
			size, rest, _ := strings.Cut(words[i+1], ":")
			n, err := strconv.Atoi(size)
			ms, err2 := strconv.ParseInt(rest[:min(max(n, 0), len(rest))], 10, 64)
			if err := errors.Join(err, err2); err != nil {
				l.find(OutboxLate, words[i], "nobody can tell it: it does not begin with a time")
				continue
			}
			if age := l.now.Sub(time.UnixMilli(ms)); age > late {
				l.find(OutboxLate, words[i], "for %s nobody has told it", age.Round(time.Second))
			}
		}
		return nil
	})
}

// holdings looks at the list of what a worker holds in a shard.
func (l *look) holdings(ctx context.Context, key string, n keys.Name) error {
	worker := n.Of
	return l.each(ctx, "sscan", key, func(words []string) error {
		var list []asked
		for _, item := range words {
			if !l.lives(worker) {
				l.find(HolderDead, item, "worker %s does not beat", worker)
			}
			stale := func(holder string) {
				if holder != worker {
					l.find(HoldingStale, item, "worker %s does not hold it", worker)
				}
			}
			p := strings.Split(item, "|")
			switch {
			case len(p) == 3 && p[0] == "x":
				list = append(list, asked{conn.NewCommand("hget", l.keys.Prefix(n.Shard)+"x:"+p[1], p[2]), func(reply any) { stale(part(reply, 4)) }})
			case len(p) == 3 && p[0] == "t":
				list = append(list, asked{conn.NewCommand("hget", l.keys.Record(p[1]), "t"+p[2]), func(reply any) { stale(part(reply, 1)) }})
			default:
				list = append(list, asked{conn.NewCommand("hget", l.keys.Record(item), "h"), func(reply any) { stale(part(reply, 0)) }})
			}
		}
		return l.ask(ctx, list)
	})
}

// part is one of the parts of a field that semicolons separate.
func part(reply any, at int) string {
	text, _ := reply.(string)
	p := strings.Split(text, ";")
	if at >= len(p) {
		return ""
	}
	return p[at]
}
