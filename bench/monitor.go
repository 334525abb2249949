package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// monitor counts what clients send to Redis: the lines of MONITOR that are not marked as a script's. While it listens Redis is slower,
// so nothing is timed then. Go-redis' own Monitor spins while nothing happens; this one has a connection of its own.
type monitor struct {
	rdb   *redis.Client
	conn  net.Conn
	lines *bufio.Reader
}

func newMonitor(ctx context.Context, rdb *redis.Client) (*monitor, error) {
	o := rdb.Options()
	conn, err := o.Dialer(ctx, o.Network, o.Addr)
	if err != nil {
		return nil, err
	}
	m := &monitor{rdb: rdb, conn: conn, lines: bufio.NewReaderSize(conn, 1<<20)}
	if err := m.begin(o); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// begin logs in and asks for all commands from now on.
func (m *monitor) begin(o *redis.Options) error {
	commands := [][]string{{"MONITOR"}}
	switch {
	case o.Username != "":
		commands = [][]string{{"AUTH", o.Username, o.Password}, commands[0]}
	case o.Password != "":
		commands = [][]string{{"AUTH", o.Password}, commands[0]}
	}
	for _, c := range commands {
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(c))
		for _, word := range c {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
		}
		if _, err := m.conn.Write([]byte(b.String())); err != nil {
			return err
		}
		reply, err := m.lines.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(reply, "+OK") {
			return fmt.Errorf("%s: %s", c[0], strings.TrimSpace(reply))
		}
	}
	return nil
}

func (m *monitor) close() { _ = m.conn.Close() }

// count returns what clients sent while do ran, by command. Two commands of its own, which are not counted, mark begin and end
// in the stream.
func (m *monitor) count(ctx context.Context, do func() error) (map[string]int, error) {
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	begin, end := rand.Text(), rand.Text()
	counts := make(chan map[string]int, 1)
	failed := make(chan error, 1)
	go func() {
		c, err := m.between(begin, end)
		if err != nil {
			failed <- err
			return
		}
		counts <- c
	}()
	if err := m.rdb.Echo(ctx, begin).Err(); err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	if err := m.rdb.Echo(ctx, end).Err(); err != nil {
		return nil, err
	}
	select {
	case c := <-counts:
		return c, nil
	case err := <-failed:
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("MONITOR: %w", err)
	}
}

// between counts the commands between two marks.
func (m *monitor) between(begin, end string) (map[string]int, error) {
	counts := make(map[string]int)
	begun := false
	for {
		line, err := m.line()
		if err != nil {
			return nil, err
		}
		name, first, client := parseMonitored(line)
		switch {
		case name == "echo" && first == begin:
			begun = true
		case name == "echo" && first == end:
			return counts, nil
		case begun && client && name != "":
			counts[name]++
		}
	}
}

// line returns the beginning of the next line: arguments may be long.
func (m *monitor) line() (string, error) {
	line, err := m.lines.ReadSlice('\n')
	head := string(line[:min(len(line), 512)])
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = m.lines.ReadSlice('\n')
	}
	return head, err
}

// parseMonitored takes a line apart: +1700000000.123456 [0 127.0.0.1:50000] "get" "key". Client is false for what a script sent:
// [0 lua].
func parseMonitored(line string) (name, first string, client bool) {
	_, rest, ok := strings.Cut(line, " [")
	if !ok {
		return "", "", false
	}
	source, rest, ok := strings.Cut(rest, "] ")
	if !ok {
		return "", "", false
	}
	words := strings.SplitN(rest, "\" \"", 3)
	name = strings.ToLower(strings.Trim(words[0], "\"\r\n"))
	if len(words) > 1 {
		first = strings.Trim(words[1], "\"\r\n")
	}
	return name, first, !strings.HasSuffix(source, " lua")
}

// total adds counts up.
func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// setCounts sets what clients sent per something, in all and by command.
func (r *round) setCounts(counts map[string]int, name string, per float64) {
	r.set(name, float64(total(counts))/per)
	for command, n := range counts {
		r.set(name+"."+command, float64(n)/per)
	}
}
