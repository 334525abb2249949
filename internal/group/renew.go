package group

import (
	"context"

	"github.com/gatherq/gatherq/internal/conn"
)

// Renew keeps what has been sent alive while the source of the members is slow. It must not run while another method does.
func (st *Stage) Renew(ctx context.Context) error {
	calls := make([]*conn.Call, 0, st.buckets())
	for b := range st.buckets() {
		calls = append(calls, conn.NewCommand("pexpire", st.bucket(b), StagingTTL.Milliseconds()))
	}
	return st.store.conn.All(ctx, calls...)
}
