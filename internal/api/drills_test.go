package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/recovery/drill"
	"understudy/internal/store"
)

func (b *backend) RunDrill(_ context.Context, q controller.DrillRequest) (store.Run, error) {
	b.asked = strings.Join([]string{"drill", q.Group, q.Point, q.Plan, q.By}, " ")
	return store.Run{ID: "r1", Kind: "drill", Group: q.Group, State: store.RunPending}, b.err
}

func (b *backend) ScheduleDrill(_ context.Context, s store.DrillSchedule) (controller.Drill, error) {
	return controller.Drill{Group: s.Group, Schedule: &s, Upcoming: []time.Time{time.Unix(0, 0)}, Limit: time.Hour, Overdue: 2 * time.Hour,
		Last: &store.Run{ID: "r1", State: store.RunFailed, Result: []byte(`{"rtoSeconds":3,"drill":{"checks":[]}}`)}}, b.err
}

func (b *backend) Report(context.Context, string) (drill.Report, error) {
	r := drill.Report{Run: "r1", Kind: "drill", Group: "shop", State: "failed", Error: "<b>no</b>"}
	r.Complete()
	return r, b.err
}

func (b *backend) Evidence(_ context.Context, _, file string) ([]byte, error) {
	if file != "01-db-screen.png" {
		return nil, dr.WithHint(errors.New("no such evidence"), dr.KindNotFound, "")
	}
	return []byte("\x89PNG"), nil
}

func TestDrillsOverTheWire(t *testing.T) {
	b, s, _ := serve(t)
	c := client.New(s.URL, "right")
	run, err := c.RunDrill(t.Context(), "shop", wire.DrillRequest{Point: "latest", Plan: "p"})
	if err != nil || run.ID != "r1" || b.asked != "drill shop latest p admin" {
		t.Errorf("%+v %v %q", run, err, b.asked)
	}
	d, err := c.ScheduleDrill(t.Context(), "shop", wire.DrillSchedule{Cron: "0 3 * * 1", TZ: "Europe/Paris", OverdueAfter: wire.Duration(8 * 24 * time.Hour)})
	if err != nil || d.Schedule == nil || d.Schedule.TZ != "Europe/Paris" || d.By != "admin" || time.Duration(d.Schedule.OverdueAfter) != 8*24*time.Hour {
		t.Errorf("%+v %v", d, err)
	}
	if !d.Overdue || *d.LimitSeconds != 3600 || d.Last.Result["rtoSeconds"] != 3.0 || d.Last.Result["drill"] != nil || len(d.Upcoming) != 1 {
		t.Errorf("%+v", d)
	}
	if _, err := c.ScheduleDrill(t.Context(), "shop", wire.DrillSchedule{}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("without an expression: %v", err)
	}
	if data, err := c.Evidence(t.Context(), "r1", "01-db-screen.png"); err != nil || string(data) != "\x89PNG" {
		t.Errorf("%q %v", data, err)
	}
	if _, err := c.Evidence(t.Context(), "r1", "../token"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("another file: %v", err)
	}
}

// Reports and evidence are served so that a browser runs nothing of what a machine wrote.
func TestReportsAreInert(t *testing.T) {
	_, s, _ := serve(t)
	for path, want := range map[string]string{
		"/v1/runs/r1/report":                    "text/html; charset=utf-8",
		"/v1/runs/r1/report?format=json":        "application/json",
		"/v1/runs/r1/evidence/01-db-screen.png": "image/png",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer right")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		h := resp.Header
		if err != nil || resp.StatusCode != 200 || h.Get("Content-Type") != want || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v %v", path, resp.StatusCode, h, err)
		}
		if want == "text/html; charset=utf-8" && (bytes.Contains(body, []byte("<b>no</b>")) || !bytes.Contains(body, []byte("Understudy test"))) {
			t.Errorf("%s", body)
		}
	}
	if status, _, p := call(t, s, "GET", "/v1/runs/r1/report?format=pdf", "right", ""); status != 422 || p.Kind != "invalid" {
		t.Errorf("unknown format: %d %+v", status, p)
	}
}
