package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// Cluster is a Redis Cluster of three masters with a replica each, all processes of this machine.
type Cluster struct {
	*Server
	Nodes []*Node // at the start the first three are the masters, and each of the others is the replica of that three places before it
}

// StartCluster starts a cluster. A master that does not answer for longer than nodeTimeout is replaced by its replica, some two seconds later.
// The test is skipped where no redis-server is installed.
func StartCluster(t testing.TB, nodeTimeout time.Duration) *Cluster {
	t.Helper()
	c := &Cluster{Server: &Server{Name: "cluster"}}
	var addrs []string
	for range 2 * clusterMasters {
		n := startNode(t, func(port int, dir string) []string {
			return serverArgs(port, dir, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
				"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10), "--cluster-replica-validity-factor", "0")
		})
		c.Nodes, addrs = append(c.Nodes, n), append(addrs, n.Addr)
	}
	c.URL = "redis+cluster://" + strings.Join(addrs, ",")
	c.open = func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true, DialerRetries: 1})
	}
	c.join(t)
	return c
}

// join makes one cluster of the nodes.
func (c *Cluster) join(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	clients := make([]*redis.Client, len(c.Nodes))
	ids := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		clients[i] = n.Client(t)
		must(t, clients[i].Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		var err error
		if ids[i], err = clients[i].ClusterMyID(ctx).Result(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range clusterMasters {
		must(t, clients[i].ClusterAddSlotsRange(ctx, i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1).Err())
	}
	for _, n := range c.Nodes[1:] {
		host, port, _ := strings.Cut(n.Addr, ":")
		must(t, clients[0].ClusterMeet(ctx, host, port).Err())
	}
	for _, rdb := range clients {
		until(t, "a cluster that knows all nodes", func(ctx context.Context) error {
			text, err := rdb.ClusterNodes(ctx).Result()
			if err == nil && (strings.Count(text, "connected") < len(c.Nodes) || strings.Contains(text, "handshake")) {
				err = errors.New(text)
			}
			return err
		})
	}
	for i := range clusterMasters {
		replica := clients[clusterMasters+i]
		must(t, replica.ClusterReplicate(ctx, ids[i]).Err())
	}
	for _, rdb := range clients {
		until(t, "a cluster that works", func(ctx context.Context) error {
			info, err := rdb.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			text, err := rdb.ClusterNodes(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || strings.Count(text, "slave") != clusterMasters) {
				err = errors.New(text)
			}
			return err
		})
	}
	for _, replica := range clients[clusterMasters:] {
		until(t, "a replica that follows", follows(replica))
	}
}

// Masters returns the nodes that are masters now, by what the cluster's nodes themselves say, in the order of Nodes.
func (c *Cluster) Masters(t testing.TB) (masters []*Node) {
	t.Helper()
	for _, n := range c.Nodes {
		if role, err := n.Client(t).Do(t.Context(), "role").Slice(); err == nil && len(role) > 0 && role[0] == "master" {
			masters = append(masters, n)
		}
	}
	return masters
}

// Owns reports whether a node serves a slot, by its own word.
func (c *Cluster) Owns(t testing.TB, n *Node, slot int) bool {
	t.Helper()
	rdb := n.Client(t)
	defer rdb.Close()
	text, err := rdb.ClusterNodes(t.Context()).Result()
	must(t, err)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.Contains(f[2], "myself") {
			continue
		}
		for _, part := range f[8:] {
			first, last, several := strings.Cut(part, "-")
			if !several {
				last = first
			}
			a, err1 := strconv.Atoi(first)
			b, err2 := strconv.Atoi(last)
			if err1 == nil && err2 == nil && a <= slot && slot <= b {
				return true
			}
		}
	}
	return false
}

// MoveSlot moves a slot with all that is in it from one master to another, a few keys at a time, as redis-cli's reshard does. between
// is called after each few, while some are here and some there.
func (c *Cluster) MoveSlot(t testing.TB, slot int, from, to *Node, between func()) (keys int) {
	t.Helper()
	ctx := t.Context()
	source, target := from.Client(t), to.Client(t)
	defer source.Close()
	defer target.Close()
	id := func(rdb *redis.Client) string {
		s, err := rdb.ClusterMyID(ctx).Result()
		must(t, err)
		return s
	}
	host, port, _ := strings.Cut(to.Addr, ":")
	must(t, target.Do(ctx, "cluster", "setslot", slot, "importing", id(source)).Err())
	must(t, source.Do(ctx, "cluster", "setslot", slot, "migrating", id(target)).Err())
	for {
		names, err := source.ClusterGetKeysInSlot(ctx, slot, 10).Result()
		must(t, err)
		if len(names) == 0 {
			break
		}
		args := []any{"migrate", host, port, "", 0, 60_000, "keys"}
		for _, name := range names {
			args = append(args, name)
		}
		must(t, source.Do(ctx, args...).Err())
		keys += len(names)
		between()
	}
	for _, rdb := range []*redis.Client{target, source} {
		must(t, rdb.Do(ctx, "cluster", "setslot", slot, "node", id(target)).Err())
	}
	for _, n := range c.Masters(t) {
		if n != from && n != to {
			must(t, n.Client(t).Do(ctx, "cluster", "setslot", slot, "node", id(target)).Err())
		}
	}
	return keys
}

// follows asks whether a replica has all that its master had.
func follows(replica *redis.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		info, err := replica.Info(ctx, "replication").Result()
		if err == nil && (!strings.Contains(info, "master_link_status:up") || strings.Contains(info, "master_sync_in_progress:1")) {
			err = fmt.Errorf("%s", info)
		}
		return err
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
