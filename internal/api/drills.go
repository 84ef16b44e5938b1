package api

import (
	"bytes"
	"context"
	"net/http"
	"path"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/recovery/drill"
	"understudy/internal/store"
)

// DrillBackend does what the API is asked for about drills and reports.
type DrillBackend interface {
	RunDrill(ctx context.Context, q controller.DrillRequest) (store.Run, error)
	Drills(ctx context.Context) ([]controller.Drill, error)
	Drill(ctx context.Context, group string) (controller.Drill, error)
	ScheduleDrill(ctx context.Context, s store.DrillSchedule) (controller.Drill, error)
	UnscheduleDrill(ctx context.Context, group, by string) error

	Report(ctx context.Context, run string) (drill.Report, error)
	Evidence(ctx context.Context, run, file string) ([]byte, error)
}

// file is an answer that is a file.
type file struct {
	Type     string `header:"Content-Type"`
	Guess    string `header:"X-Content-Type-Options"`
	Policy   string `header:"Content-Security-Policy"`
	Download string `header:"Content-Disposition"`
	Body     []byte
}

func newFile(contentType, name string, data []byte) *file {
	return &file{Type: contentType, Guess: "nosniff", Download: `inline; filename="` + name + `"`, Body: data,
		Policy: "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"}
}

// answers describes an operation whose answer is a file of one of some types.
func answers(o huma.Operation, types ...string) huma.Operation {
	content := map[string]*huma.MediaType{}
	for _, t := range types {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	o.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: content}}
	return o
}

func (s *server) drills(a huma.API) {
	const tag = "drills"
	huma.Register(a, op(http.MethodGet, "/v1/drills", "list-drills", tag, "Tell how every group stands with its rehearsals"),
		func(ctx context.Context, in *Page) (*pageOf[wire.Drill], error) {
			list, err := s.backend.Drills(ctx)
			if err != nil {
				return nil, fail(err)
			}
			return paged(list, *in, func(d controller.Drill) string { return d.Group }, fromDrill)
		})
	huma.Register(a, op(http.MethodGet, "/v1/groups/{name}/drill", "show-drill", tag, "Tell how a group stands with its rehearsals"),
		func(ctx context.Context, in *Named) (*body[wire.Drill], error) {
			d, err := s.backend.Drill(ctx, in.Name)
			return &body[wire.Drill]{fromDrill(d)}, fail(err)
		})
	type run struct {
		Named
		Body wire.DrillRequest
	}
	o := op(http.MethodPost, "/v1/groups/{name}/drill", "run-drill", tag, "Begin a drill: a test failover that takes evidence and cleans up after itself")
	o.DefaultStatus = http.StatusAccepted
	huma.Register(a, o, func(ctx context.Context, in *run) (*body[wire.Run], error) {
		r, err := s.backend.RunDrill(ctx, controller.DrillRequest{Group: in.Name, Point: in.Body.Point, Plan: in.Body.Plan, Keep: in.Body.Keep, By: caller(ctx)})
		return &body[wire.Run]{fromRun(r, nil)}, fail(err)
	})
	type schedule struct {
		Named
		Body wire.DrillSchedule
	}
	huma.Register(a, op(http.MethodPut, "/v1/groups/{name}/drill/schedule", "schedule-drill", tag, "Set when a group is rehearsed"),
		func(ctx context.Context, in *schedule) (*body[wire.Drill], error) {
			b := in.Body
			d, err := s.backend.ScheduleDrill(ctx, store.DrillSchedule{Group: in.Name, Cron: b.Cron, Zone: b.TZ, Plan: b.Plan, Keep: b.Keep,
				Window: time.Duration(b.Window), OverdueAfter: time.Duration(b.OverdueAfter), By: caller(ctx)})
			return &body[wire.Drill]{fromDrill(d)}, fail(err)
		})
	huma.Register(a, op(http.MethodDelete, "/v1/groups/{name}/drill/schedule", "unschedule-drill", tag, "End the schedule of a group's drills"),
		func(ctx context.Context, in *Named) (*nothing, error) {
			return nil, fail(s.backend.UnscheduleDrill(ctx, in.Name, caller(ctx)))
		})
	s.reports(a)
}

func (s *server) reports(a huma.API) {
	const tag = "drills"
	type report struct {
		Named
		Format string `query:"format" enum:"html,json" default:"html"`
	}
	huma.Register(a, answers(op(http.MethodGet, "/v1/runs/{name}/report", "report-run", tag, "Report on a run in one file, with its evidence in it"), "text/html", "application/json"),
		func(ctx context.Context, in *report) (*file, error) {
			r, err := s.backend.Report(ctx, in.Name)
			if err != nil {
				return nil, fail(err)
			}
			r.Program = s.opts.Version
			var out bytes.Buffer
			if in.Format == "json" {
				err = r.JSON(&out)
				return newFile("application/json", r.Run+".json", out.Bytes()), fail(err)
			}
			err = r.HTML(&out)
			return newFile("text/html; charset=utf-8", r.Run+".html", out.Bytes()), fail(err)
		})
	type evidence struct {
		Named
		File string `path:"file"`
	}
	huma.Register(a, answers(op(http.MethodGet, "/v1/runs/{name}/evidence/{file}", "show-evidence", tag, "Fetch a file that a drill kept; its result names them"), "image/png", "text/plain"),
		func(ctx context.Context, in *evidence) (*file, error) {
			data, err := s.backend.Evidence(ctx, in.Name, in.File)
			if err != nil {
				return nil, fail(err)
			}
			kind := "text/plain; charset=utf-8"
			if path.Ext(in.File) == ".png" {
				kind = "image/png"
			}
			return newFile(kind, in.File, data), nil
		})
}

// fromDrill converts how a group stands with its rehearsals.
func fromDrill(d controller.Drill) wire.Drill {
	w := wire.Drill{Group: d.Group, ProvenAt: wire.At(d.ProvenAt), ProvenRun: d.ProvenRun, ProvenPoint: d.ProvenPoint}
	if !d.ProvenAt.IsZero() {
		w.ProvenRTO = secondsOf(d.ProvenRTO)
	}
	if s := d.Schedule; s != nil {
		w.Schedule = &wire.DrillSchedule{Cron: s.Cron, TZ: s.Zone, Plan: s.Plan, Keep: s.Keep, Window: wire.Duration(s.Window), OverdueAfter: wire.Duration(s.OverdueAfter)}
		w.By, w.LastDue, w.Problem, w.Hint = s.By, wire.At(s.LastDue), s.Problem, s.Hint
		w.Upcoming, w.LimitSeconds = d.Upcoming, secondsOf(d.Limit)
	}
	if d.Overdue > 0 {
		w.Overdue, w.OverdueSeconds = true, secondsOf(d.Overdue)
	}
	if d.Last != nil {
		last := fromRun(*d.Last, nil)
		last.Result = brief(last.Result)
		w.Last = &last
	}
	return w
}

// brief leaves out of a result what only a report needs.
func brief(result map[string]any) map[string]any {
	delete(result, "drill")
	return result
}

func secondsOf(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}
