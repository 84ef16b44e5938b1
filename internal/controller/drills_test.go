package controller

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// shift is a clock that a test sets forward.
type shift struct {
	mu sync.Mutex
	by time.Duration
}

func (s *shift) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.by)
}

func (s *shift) to(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = time.Until(t)
}

// rehearsed is a stage with a protected group and a clock of its own.
func rehearsed(t *testing.T) (*stage, *shift) {
	t.Helper()
	s, clock := setUp(t), &shift{}
	s.end()
	s.cfg.Now = clock.now
	open(t, s)
	addMachine(t, s.east, "db")
	if _, err := s.Protect(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	return s, clock
}

func (s *stage) drills(t *testing.T) []store.Run {
	t.Helper()
	runs, err := s.store.Runs(t.Context(), store.RunFilter{Group: "shop", Kind: recovery.KindDrill})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func (s *stage) look(t *testing.T) {
	t.Helper()
	if err := s.dueDrills(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) events(t *testing.T, kind string) (list []store.Event) {
	t.Helper()
	all, err := s.store.Events(t.Context(), store.EventFilter{Group: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

func (s *stage) schedule(t *testing.T, d store.DrillSchedule) Drill {
	t.Helper()
	d.Group, d.By = "shop", "admin"
	out, err := s.ScheduleDrill(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDrillWhenDue(t *testing.T) {
	s, clock := rehearsed(t)
	d := s.schedule(t, store.DrillSchedule{Cron: "0 3 * * 1", Zone: "Europe/Paris"})
	due := d.Upcoming[0]
	if len(d.Upcoming) != 3 || d.Schedule.Window != 4*time.Hour || d.Limit < 7*24*time.Hour || d.Overdue != 0 {
		t.Fatalf("%+v", d)
	}
	s.look(t)
	if n := len(s.drills(t)); n != 0 {
		t.Fatalf("%d drills before it is due", n)
	}
	clock.to(due.Add(10 * time.Second))
	s.look(t)
	runs := s.drills(t)
	if len(runs) != 1 || runs[0].By != "schedule" {
		t.Fatalf("%+v", runs)
	}
	run := s.reach(t, runs[0], store.RunSucceeded)
	s.look(t)
	if n := len(s.drills(t)); n != 1 {
		t.Fatalf("%d drills", n)
	}
	// Nothing is recorded of a crash right after it began: it is not begun again.
	if _, err := s.store.ChangeDrillSchedule(t.Context(), "shop", func(v *store.DrillSchedule) error {
		v.Next, v.LastDue, v.LastRun = due, time.Time{}, ""
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.look(t)
	d, err := s.Drill(t.Context(), "shop")
	if err != nil || len(s.drills(t)) != 1 || d.Schedule.LastRun != run.ID || !d.Upcoming[0].Equal(due.Add(7*24*time.Hour)) && !d.Upcoming[0].Equal(due.Add(7*24*time.Hour+time.Hour)) && !d.Upcoming[0].Equal(due.Add(7*24*time.Hour-time.Hour)) {
		t.Fatalf("%+v %v", d, err)
	}
	if d.ProvenRun != run.ID || d.Last == nil || d.Last.ID != run.ID {
		t.Errorf("%+v", d)
	}
	r, err := s.Report(t.Context(), run.ID)
	if err != nil || r.By != "schedule" || !r.Due.Equal(due) || r.Lag == nil || r.Lag.Samples == 0 || len(r.Evidence) == 0 {
		t.Errorf("%+v %v", r, err)
	}
	for _, it := range r.Evidence {
		if it.File == "" {
			continue
		}
		if data, err := s.Evidence(t.Context(), run.ID, it.File); err != nil || len(data) == 0 {
			t.Errorf("%s: %v", it.File, err)
		}
	}
	if err := s.UnscheduleDrill(t.Context(), "shop", "admin"); err != nil {
		t.Error(err)
	}
	if err := s.UnscheduleDrill(t.Context(), "shop", "admin"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("second time: %v", err)
	}
}

// While no controller runs many drills are missed: on return the newest begins, once, when it is not too late.
func TestDrillMissedWhileAway(t *testing.T) {
	for name, tt := range map[string]struct {
		late   time.Duration
		drills int
		missed int
	}{"within the window": {3 * time.Hour, 1, 0}, "too late": {5 * time.Hour, 0, 1}} {
		t.Run(name, func(t *testing.T) {
			s, clock := rehearsed(t)
			d := s.schedule(t, store.DrillSchedule{Cron: "0 3 * * 1"})
			s.end()
			clock.to(d.Upcoming[0].Add(3*7*24*time.Hour + tt.late))
			open(t, s) // looks at once
			s.look(t)
			s.look(t)
			if n := len(s.drills(t)); n != tt.drills {
				t.Errorf("%d drills, want %d", n, tt.drills)
			}
			if n := len(s.events(t, "drill.missed")); n != tt.missed {
				t.Errorf("%d times missed, want %d", n, tt.missed)
			}
			d, err := s.Drill(t.Context(), "shop")
			if err != nil || !d.Upcoming[0].After(clock.now()) {
				t.Errorf("%+v %v", d, err)
			}
			for _, run := range s.drills(t) {
				s.reach(t, run, store.RunSucceeded)
			}
		})
	}
}

// A group that is busy is rehearsed when it is free, within the window; else the drill is missed, with the reason.
func TestDrillDeferred(t *testing.T) {
	s, clock := rehearsed(t)
	d := s.schedule(t, store.DrillSchedule{Cron: "0 3 * * 1", Window: time.Hour})
	test, err := s.StartRun(t.Context(), recovery.KindTest, "shop", "", "admin")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, test, store.RunSucceeded)
	clock.to(d.Upcoming[0].Add(time.Minute))
	for range 3 {
		s.look(t)
	}
	if n := len(s.events(t, "drill.deferred")); n != 1 || len(s.drills(t)) != 0 {
		t.Fatalf("%d times deferred", n)
	}
	if d, err = s.Drill(t.Context(), "shop"); err != nil || d.Schedule.Problem == "" || d.Schedule.Hint == "" {
		t.Errorf("%+v %v", d.Schedule, err)
	}
	clean, err := s.StartRun(t.Context(), recovery.KindCleanup, "shop", "", "admin")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, clean, store.RunSucceeded)
	s.look(t)
	runs := s.drills(t)
	if len(runs) != 1 {
		t.Fatalf("%d drills when the group was free", len(runs))
	}
	s.reach(t, runs[0], store.RunSucceeded)
	if d, err = s.Drill(t.Context(), "shop"); err != nil || d.Schedule.Problem != "" {
		t.Errorf("%+v %v", d.Schedule, err)
	}

	// The next one finds it busy for too long.
	test, err = s.StartRun(t.Context(), recovery.KindTest, "shop", "", "admin")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, test, store.RunSucceeded)
	clock.to(d.Upcoming[0].Add(time.Minute))
	s.look(t)
	clock.to(d.Upcoming[0].Add(time.Hour + time.Minute))
	s.look(t)
	missed := s.events(t, "drill.missed")
	if len(missed) != 1 || !strings.Contains(missed[0].Message, "test failover is running") {
		t.Errorf("%+v", missed)
	}
}

func TestDrillOverdue(t *testing.T) {
	s, clock := rehearsed(t)
	d := s.schedule(t, store.DrillSchedule{Cron: "@weekly", OverdueAfter: 8 * 24 * time.Hour})
	// Drills fail from now on.
	for range 50 {
		s.west.FailNext(fake.OpProvision, dr.WithHint(errors.New("no space"), dr.KindConflict, ""))
	}
	clock.to(d.Schedule.Since.Add(8*24*time.Hour - time.Minute))
	s.look(t)
	if list := s.events(t, "drill.overdue"); len(list) != 0 || status(t, s).Drill.Overdue != 0 {
		t.Fatalf("too early: %+v", list)
	}
	clock.to(d.Schedule.Since.Add(8*24*time.Hour + time.Hour))
	for range 3 {
		s.look(t)
	}
	if list := s.events(t, "drill.overdue"); len(list) != 1 || !strings.Contains(list[0].Message, "never proven") {
		t.Fatalf("%+v", list)
	}
	if st := status(t, s); st.Drill == nil || st.Drill.Overdue < 8*24*time.Hour {
		t.Errorf("%+v", st.Drill)
	}
}

func TestScheduleDrillRefused(t *testing.T) {
	s, _ := rehearsed(t)
	for name, d := range map[string]store.DrillSchedule{
		"no expression":     {Group: "shop"},
		"zone":              {Group: "shop", Cron: "@daily", Zone: "Mars/Olympus"},
		"always overdue":    {Group: "shop", Cron: "@weekly", OverdueAfter: 24 * time.Hour},
		"window":            {Group: "shop", Cron: "@weekly", Window: time.Second},
		"window too long":   {Group: "shop", Cron: "@weekly", Window: 30 * 24 * time.Hour},
		"group":             {Group: "none", Cron: "@weekly"},
		"plan of no group":  {Group: "shop", Cron: "@weekly", Plan: "none"},
		"no such day":       {Group: "shop", Cron: "0 0 31 6 *"},
		"six fields":        {Group: "shop", Cron: "0 0 3 * * 1"},
		"zone in the field": {Group: "shop", Cron: "TZ=UTC 0 3 * * 1"},
	} {
		if _, err := s.ScheduleDrill(t.Context(), d); dr.KindOf(err) != dr.KindInvalid && dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, dr.Hint(err))
		}
	}
}
