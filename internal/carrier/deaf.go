package carrier

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// deaf returns a client whose subscriptions are confirmed and hear nothing. asynq's server insists on one, to its channel of
// cancellations: those are for handlers that run under asynq, and ours has returned before anybody could want to end it. On
// Redis it would cost a connection and a ping every three seconds; and asynq's subscriber panics when the client that it lives on
// is closed by its owner, so this one is nobody else's.
func deaf() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "nowhere",
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go nod(there)
			return here, nil
		},
		Protocol:                 2,
		DisableIdentity:          true,
		DialerRetries:            1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// nod is the other end of such a subscription: it answers SUBSCRIBE and PING, refuses all else, and ends with the connection.
func nod(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		var answer strings.Builder
		switch strings.ToLower(words[0]) {
		case "subscribe":
			for i, channel := range words[1:] {
				fmt.Fprintf(&answer, "*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n", len(channel), channel, i+1)
			}
		case "ping":
			answer.WriteString("*2\r\n$4\r\npong\r\n$0\r\n\r\n")
		default:
			answer.WriteString("-ERR nobody is here\r\n")
		}
		if _, err := io.WriteString(c, answer.String()); err != nil {
			return
		}
	}
}

// longestWord bounds what readCommand takes: names of channels are short.
const longestWord = 1 << 12

// readCommand reads a command as go-redis writes it: an array of strings, at least one.
func readCommand(r *bufio.Reader) (words []string, err error) {
	count := func(mark byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line[0] != mark {
			return 0, fmt.Errorf("%q instead of %q", line[0], mark)
		}
		n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
		if err == nil && (n < 0 || n > longestWord) {
			err = fmt.Errorf("%d is out of bounds", n)
		}
		return n, err
	}
	n, err := count('*')
	if err != nil {
		return nil, err
	}
	for range max(n, 1) {
		size, err := count('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words = append(words, string(word[:size]))
	}
	return words, nil
}
