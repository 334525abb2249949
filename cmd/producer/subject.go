package main

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// subject is a task, a member or a group that a command is about.
type subject struct {
	id      string
	isGroup bool
}

// subject finds out what id is. Only of an ID that a user chose Redis must be asked: the others show it.
func (s *session) subject(ctx context.Context, id string) (subject, error) {
	if rest, ok := strings.CutPrefix(id, "g:"); ok && uuid.Validate(rest) == nil {
		return subject{id: id, isGroup: true}, nil
	}
	if strings.Contains(id, ":") { // a member, a child or a generated task
		return subject{id: id}, nil
	}
	info, err := jobs.Inspect(ctx, jobs.TaskByID[jobs.Value](s.Client, id))
	if err != nil {
		return subject{}, err
	}
	return subject{id: id, isGroup: info.IsGroup}, nil
}

// task returns the handle of a subject that is no group.
func (s *session) task(sub subject) *jobs.Task[jobs.Value] {
	return jobs.TaskByID[jobs.Value](s.Client, sub.id)
}

// group returns the handle of a subject that is a group.
func (s *session) group(sub subject) *jobs.Group[jobs.Value] {
	return jobs.GroupByID[jobs.Value](s.Client, sub.id)
}

// settled returns the view of a subject that ends when nothing of it runs any more: what the command line cancels and waits for.
func (s *session) settled(sub subject) jobs.Ref {
	if sub.isGroup {
		return s.group(sub).Settled()
	}
	return s.task(sub)
}
