package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// Lists of what there may be thousands of.
func (s *server) lists(a huma.API) {
	type groups struct {
		Q      string `query:"q" maxLength:"200" doc:"Text in the name of the group, of a machine or of a site"`
		Site   string `query:"site" doc:"Where it runs, or its target"`
		Vault  string `query:"vault"`
		Policy string `query:"policy"`
		Page
	}
	huma.Register(a, op(http.MethodGet, "/v1/groups", "list-groups", "groups", "List protected groups by name"),
		func(ctx context.Context, in *groups) (*pageOf[wire.Group], error) {
			list, err := s.backend.Groups(ctx)
			if err != nil {
				return nil, fail(err)
			}
			list = slices.DeleteFunc(list, func(g dr.Group) bool {
				return !matches(in.Q, groupWords(g)...) || !is(in.Site, g.Site) && !is(in.Site, g.Target) || !is(in.Vault, g.Vault) || !is(in.Policy, g.Policy)
			})
			return paged(list, in.Page, func(g dr.Group) string { return g.Name }, wire.FromGroup)
		})
	type statuses struct {
		Q              string `query:"q" maxLength:"200" doc:"Text in the name of the group, of a machine or of a site"`
		State          string `query:"state" doc:"In the life cycle"`
		Health         string `query:"health" enum:"critical,unknown,warning,healthy"`
		Replicating    string `query:"replicating" enum:"fenced,failing,late,unknown,paused,seeding,off,current"`
		Recoverability string `query:"recoverability" enum:"not-recoverable,never-proven,proven-stale,proven"`
		Site           string `query:"site" doc:"Where it runs, or its target"`
		Vault          string `query:"vault"`
		Policy         string `query:"policy"`
		Sort           string `query:"sort" enum:"name,lag,health" default:"name" doc:"lag: what would be lost, the most first; health: the worst first"`
		Page
	}
	huma.Register(a, op(http.MethodGet, "/v1/status", "status", "groups", "What would be lost now, for every group"),
		func(ctx context.Context, in *statuses) (*pageOf[wire.Status], error) {
			list, err := s.backend.Status(ctx, "")
			if err != nil {
				return nil, fail(err)
			}
			list = slices.DeleteFunc(list, func(v controller.Status) bool {
				g := v.Group
				return !matches(in.Q, groupWords(g)...) || !is(in.State, string(v.Protection.State)) || !is(in.Health, string(v.Health)) ||
					!is(in.Replicating, string(v.Replicating)) || !is(in.Recoverability, string(v.Recoverability)) ||
					!is(in.Site, g.Site) && !is(in.Site, g.Target) || !is(in.Vault, g.Vault) || !is(in.Policy, g.Policy)
			})
			return paged(list, in.Page, statusOrders[in.Sort], fromStatus)
		})
	s.listMachines(a)
	s.listRuns(a)
}

func groupWords(g dr.Group) []string {
	words := []string{g.Name, g.Site, g.Target}
	for _, m := range g.Machines {
		words = append(words, m.Name)
	}
	return words
}

// statusOrders are keys by which statuses are sorted.
var statusOrders = map[string]func(controller.Status) string{
	"name": func(s controller.Status) string { return s.Group.Name },
	"health": func(s controller.Status) string {
		return fmt.Sprintf("%d %s", slices.Index(dr.Healths(), s.Health), s.Group.Name)
	},
	// By the instant since when everything would be lost, which changes only when a point is made: by the lag itself
	// every group would move all the time.
	"lag": func(s controller.Status) string {
		since := s.KnownGood
		if !s.LiveSince.IsZero() {
			since = s.LiveSince
		}
		if !s.Recoverable {
			since = time.Unix(0, 0)
		}
		return fmt.Sprintf("%020d %s", max(since.UnixNano(), 0), s.Group.Name)
	},
}

func (s *server) listMachines(a huma.API) {
	type machines struct {
		Q         string `query:"q" maxLength:"200" doc:"Text in the name of the machine, its group or its site"`
		Site      string `query:"site"`
		Group     string `query:"group"`
		Provider  string `query:"provider"`
		State     string `query:"state" doc:"Of the group in its life cycle"`
		Health    string `query:"health" enum:"critical,unknown,warning,healthy" doc:"Of the group"`
		Power     string `query:"power" enum:"on,off,paused,unknown"`
		Protected string `query:"protected" enum:"yes,no" doc:"Whether it is of a group: in it, left behind by its failover, or rehearsing it"`
		Page
	}
	huma.Register(a, op(http.MethodGet, "/v1/machines", "list-all-machines", "sites", "List the machines of all sites by site and name, with the groups that they are in"),
		func(ctx context.Context, in *machines) (*pageOf[wire.MachineRow], error) {
			list, err := s.backend.AllMachines(ctx)
			if err != nil {
				return nil, fail(err)
			}
			sees := s.sees(ctx)
			list = slices.DeleteFunc(list, func(m controller.MachineRow) bool {
				w := fromMachineRow(m)
				return !sees("", m.Site) && (w.Group == "" || !sees(w.Group, "")) || !matches(in.Q, w.Name, w.Group, w.Site) || !is(in.Site, w.Site) ||
					!is(in.Group, w.Group) || !is(in.Provider, w.Provider) || !is(in.State, w.State) || !is(in.Health, w.Health) || !is(in.Power, w.Power) ||
					!is(in.Protected, map[bool]string{true: "yes", false: "no"}[w.Group != ""])
			})
			return paged(list, in.Page, func(m controller.MachineRow) string { return m.Site + "\x00" + m.Machine.Name }, fromMachineRow)
		})
}

func fromMachineRow(m controller.MachineRow) wire.MachineRow {
	w := wire.MachineRow{Name: m.Machine.Name, Site: m.Site, Provider: m.Provider, Power: string(m.Machine.Power), CPUs: m.Machine.CPUs, MemoryMiB: m.Machine.MemoryMiB,
		Disks: len(m.Machine.Disks), Owner: m.Machine.Owner, Observed: wire.At(m.Observed), Problem: m.Problem}
	if w.Power == "" {
		w.Power = string(dr.PowerUnknown)
	}
	for _, d := range m.Machine.Disks {
		w.DiskBytes += d.Size
	}
	if s := m.Status; s != nil {
		v := fromStatus(*s)
		w.Group, w.State, w.Health, w.Replicating, w.Recoverability, w.LoseSeconds = v.Group, v.State, v.Health, v.Replicating, v.Recoverability, v.LoseSeconds
	}
	return w
}

func (s *server) listRuns(a huma.API) {
	type runs struct {
		Group  string `query:"group"`
		Kind   string `query:"kind"`
		State  string `query:"state" enum:"pending,running,waiting,succeeded,failed,cancelled"`
		Active bool   `query:"active" doc:"Only runs that have not ended"`
		Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"By default 100"`
		After  string `query:"after" maxLength:"200" doc:"The header X-Next of the page before"`
	}
	huma.Register(a, op(http.MethodGet, "/v1/runs", "list-runs", "recovery", "List runs, the newest first"),
		func(ctx context.Context, in *runs) (*pageOf[wire.Run], error) {
			f := store.RunFilter{Group: in.Group, Kind: in.Kind, State: store.RunState(in.State), Active: in.Active, Limit: in.Limit}
			if f.Limit == 0 {
				f.Limit = 100
			}
			var err error
			if f.Before, err = runPlace(in.After); err != nil {
				return nil, err
			}
			p := &pageOf[wire.Run]{Body: []wire.Run{}}
			n, err := s.backend.CountRuns(ctx, f)
			if err != nil {
				return nil, fail(err)
			}
			p.Total = strconv.Itoa(n)
			// One more says whether there are more.
			want := f.Limit
			f.Limit++
			list, err := s.backend.Runs(ctx, f)
			if err != nil {
				return nil, fail(err)
			}
			if len(list) > want {
				list = list[:want]
				last := list[want-1]
				p.Next = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", last.Requested.UnixNano(), last.ID))
			}
			for _, r := range list {
				p.Body = append(p.Body, fromRun(r, nil))
			}
			return p, nil
		})
}

// runPlace reads where a page of runs begins.
func runPlace(after string) (p store.RunPlace, err error) {
	text, err := base64.RawURLEncoding.DecodeString(after)
	if err == nil && after != "" {
		at, id, _ := strings.Cut(string(text), " ")
		var n int64
		n, err = strconv.ParseInt(at, 10, 64)
		p = store.RunPlace{Requested: time.Unix(0, n), ID: id}
	}
	if err != nil {
		return p, huma.Error422UnprocessableEntity("no page begins there", &huma.ErrorDetail{Location: "query.after", Message: "is no X-Next of an answer"})
	}
	return p, nil
}
