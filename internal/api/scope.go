package api

import (
	"cmp"
	"context"
	"strings"

	"understudy/internal/access"
	"understudy/internal/controller"
	"understudy/internal/store"
)

// scope is what the caller may look at, for queries; nil: everything.
func (s *server) scope(ctx context.Context) (*store.Scope, error) {
	who := askingOf(ctx).caller
	if who.May(access.Read, access.Object{}) {
		return nil, nil
	}
	groups, err := s.inner.Groups(ctx)
	if err != nil {
		return nil, err
	}
	sc := &store.Scope{}
	for _, g := range groups {
		if who.May(access.Read, groupObject(g)) {
			sc.Groups = append(sc.Groups, g.Name)
		}
	}
	for _, g := range who.Grants {
		kind, name, _ := strings.Cut(string(g.Scope), ":")
		switch {
		case !g.Role.Has(access.Read):
		case kind == "site":
			sc.Sites = append(sc.Sites, name)
		case kind == "group": // which may be there no more, unlike what is on record of it
			sc.Groups = append(sc.Groups, name)
		}
	}
	return sc, nil
}

// Runs are those of groups that the caller may look at, and of none. What those are about only their content says, so it
// goes on to read until the page is full.
func (g guard) Runs(ctx context.Context, f store.RunFilter) (out []store.Run, err error) {
	if f.Scope, err = g.s.scope(ctx); err != nil || f.Scope == nil {
		if err == nil {
			out, err = g.Backend.Runs(ctx, f)
		}
		return out, err
	}
	f.Limit = cmp.Or(f.Limit, listMost)
	for {
		list, err := g.Backend.Runs(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			f.Before = store.RunPlace{Requested: r.Requested, ID: r.ID}
			if r.Group == "" {
				o, err := g.s.runObject(ctx, r)
				if err != nil {
					return nil, err
				}
				if must(ctx, access.Read, o) != nil {
					continue
				}
			}
			if out = append(out, r); len(out) == f.Limit {
				return out, nil
			}
		}
		if len(list) < f.Limit {
			return out, nil
		}
	}
}

// CountRuns counts the runs that Runs lists.
func (g guard) CountRuns(ctx context.Context, f store.RunFilter) (n int, err error) {
	if f.Scope, err = g.s.scope(ctx); err != nil {
		return 0, err
	}
	if n, err = g.Backend.CountRuns(ctx, f); err != nil || f.Scope == nil || f.Group != "" {
		return n, err
	}
	// Runs of no group are counted among them, and may be others'.
	f.Alone, f.Before, f.Limit = true, store.RunPlace{}, listMost
	alone, err := g.Backend.CountRuns(ctx, f)
	if err != nil {
		return 0, err
	}
	mine, err := g.Runs(ctx, f)
	return n - alone + len(mine), err
}

func (g guard) Events(ctx context.Context, f store.EventFilter) (_ []store.Event, err error) {
	if f.Scope, err = g.s.scope(ctx); err != nil {
		return nil, err
	}
	return g.Backend.Events(ctx, f)
}

func (g guard) Notifications(ctx context.Context, f store.NotificationFilter) (_ []store.Notification, err error) {
	if f.Scope, err = g.s.scope(ctx); err != nil {
		return nil, err
	}
	return g.Backend.Notifications(ctx, f)
}

func (g guard) CountNotifications(ctx context.Context, f store.NotificationFilter) (_ int, err error) {
	if f.Scope, err = g.s.scope(ctx); err != nil {
		return 0, err
	}
	return g.Backend.CountNotifications(ctx, f)
}

// Overview has the runs under way that the caller may look at, those of no group too.
func (g guard) Overview(ctx context.Context, sees func(group, siteName string) bool) (controller.Overview, error) {
	o, err := g.Backend.Overview(ctx, sees)
	if err != nil || sees("", "") {
		return o, err
	}
	o.Active, err = g.Runs(ctx, store.RunFilter{Active: true, Limit: activeMost})
	return o, err
}

// activeMost bounds the runs under way of an overview.
const activeMost = 1000
