package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the sentinels call the master that they watch.
const MasterName = "mymaster"

// Sentinels is a master with two replicas, watched by three sentinels, all processes of this machine.
type Sentinels struct {
	*Server
	Nodes    []*Node // at the start the first is the master
	Watchers []*Node // the sentinels
}

// StartSentinels starts them. A master that does not answer for longer than downAfter is replaced by one of its replicas. The test is skipped
// where no redis-server is installed.
func StartSentinels(t testing.TB, downAfter time.Duration) *Sentinels {
	t.Helper()
	s := &Sentinels{Server: &Server{Name: "sentinels"}}
	for i := range 3 {
		s.Nodes = append(s.Nodes, startNode(t, func(port int, dir string) []string {
			if i == 0 {
				return serverArgs(port, dir)
			}
			host, of, _ := strings.Cut(s.Nodes[0].Addr, ":")
			return serverArgs(port, dir, "--replicaof", host+" "+of)
		}))
	}
	for _, replica := range s.Nodes[1:] {
		until(t, "a replica that follows", follows(replica.Client(t)))
	}
	var addrs []string
	for range 3 {
		w := startNode(t, func(port int, dir string) []string {
			host, of, _ := strings.Cut(s.Nodes[0].Addr, ":")
			file := filepath.Join(dir, "sentinel.conf")
			conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile %s\n"+
				"sentinel monitor %[4]s %s %s 2\nsentinel down-after-milliseconds %[4]s %[7]d\nsentinel failover-timeout %[4]s 5000\n"+
				"sentinel parallel-syncs %[4]s 2\n", port, dir, filepath.Join(dir, "redis.log"), MasterName, host, of, downAfter.Milliseconds())
			must(t, os.WriteFile(file, []byte(conf), 0o600))
			return []string{file, "--sentinel"}
		})
		s.Watchers, addrs = append(s.Watchers, w), append(addrs, w.Addr)
	}
	for _, w := range s.Watchers {
		rdb := w.Client(t)
		until(t, "sentinels that know each other", func(ctx context.Context) error {
			answer, err := rdb.Do(ctx, "sentinel", "master", MasterName).Slice()
			if err != nil {
				return err
			}
			fields := map[string]string{}
			for i := 0; i+1 < len(answer); i += 2 {
				fields[fmt.Sprint(answer[i])] = fmt.Sprint(answer[i+1])
			}
			if fields["num-slaves"] != "2" || fields["num-other-sentinels"] != "2" || fields["flags"] != "master" {
				return errors.New(fmt.Sprint(fields))
			}
			return nil
		})
	}
	s.open = func() redis.UniversalClient {
		return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: MasterName, SentinelAddrs: addrs, ContextTimeoutEnabled: true, DialerRetries: 1})
	}
	s.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + MasterName + "/0"
	return s
}

// Master returns the node that most sentinels call the master.
func (s *Sentinels) Master(t testing.TB) *Node {
	t.Helper()
	count := map[string]int{}
	for _, w := range s.Watchers {
		rdb := w.Client(t)
		addr, err := rdb.Do(t.Context(), "sentinel", "get-master-addr-by-name", MasterName).StringSlice()
		rdb.Close()
		if err == nil && len(addr) == 2 {
			count[addr[0]+":"+addr[1]]++
		}
	}
	for _, n := range s.Nodes {
		if count[n.Addr] > len(s.Watchers)/2 {
			return n
		}
	}
	t.Fatalf("the sentinels agree upon no master: %v", count)
	return nil
}

// AwaitPromotion waits until another node than old is the master, also by its own word, and returns it.
func (s *Sentinels) AwaitPromotion(t testing.TB, old *Node) (master *Node) {
	t.Helper()
	until(t, "a master in place of "+old.Addr, func(ctx context.Context) error {
		for _, n := range s.Nodes {
			if n == old {
				continue
			}
			rdb := n.Client(t)
			role, err := rdb.Do(ctx, "role").Slice()
			rdb.Close()
			if err == nil && role[0] == "master" {
				master = n
				return nil
			}
		}
		return errors.New("none yet, " + strconv.Itoa(len(s.Nodes)) + " nodes")
	})
	return master
}

// AwaitReplicas waits until the master has two replicas that follow it: then it may be replaced again.
func (s *Sentinels) AwaitReplicas(t testing.TB) {
	t.Helper()
	master := s.Master(t).Client(t)
	defer master.Close()
	until(t, "a master with its replicas", func(ctx context.Context) error {
		info, err := master.Info(ctx, "replication").Result()
		if err == nil && strings.Count(info, "state=online") < len(s.Nodes)-1 {
			err = errors.New(info)
		}
		return err
	})
}
