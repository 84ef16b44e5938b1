package store

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
)

func openPlans(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestPlans(t *testing.T) {
	s, ctx := openPlans(t), t.Context()
	put := func(text, group string) (Plan, bool, error) {
		return s.PutPlan(ctx, PlanVersion{Plan: "p", Group: group, By: "ann", Text: text, Parsed: json.RawMessage(`"` + text[:1] + `"`)},
			func(before PlanVersion) (bool, error) { return before.Text[:1] == text[:1], nil })
	}
	for _, tt := range []struct {
		text    string
		version int
		changed bool
	}{{"a1", 1, true}, {"a2", 1, false}, {"b1", 2, true}, {"a3", 3, true}} {
		p, changed, err := put(tt.text, "shop")
		if err != nil || p.Version != tt.version || changed != tt.changed || p.Group != "shop" {
			t.Errorf("%s: %+v %v %v", tt.text, p, changed, err)
		}
	}
	if _, _, err := put("a3", "mail"); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("changed its group: %v", err)
	}
	if v, err := s.PlanVersion(ctx, "p", 1); err != nil || v.Text != "a2" || v.By != "ann" {
		t.Errorf("%+v %v", v, err)
	}
	if v, err := s.PlanVersion(ctx, "p", 0); err != nil || v.Version != 3 {
		t.Errorf("%+v %v", v, err)
	}
	for _, v := range []int{0, 4} {
		name := map[int]string{0: "q", 4: "p"}[v]
		if _, err := s.PlanVersion(ctx, name, v); dr.KindOf(err) != dr.KindNotFound || dr.Hint(err) == "" {
			t.Errorf("version %d of %s: %v", v, name, err)
		}
	}
	// A proof of an older version does not take back one of a newer, and the current one is what counts.
	for _, tt := range []struct{ version, verified int }{{2, 2}, {1, 2}, {9, 2}, {3, 3}} {
		if err := s.VerifyPlan(ctx, "p", tt.version, "r", time.Now()); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Plan(ctx, "p"); err != nil || p.Verified != tt.verified || p.NeedsVerification() != (tt.verified != 3) {
			t.Errorf("%+v: %+v %v", tt, p, err)
		}
	}
	if err := s.VerifyPlan(ctx, "gone", 1, "r", time.Now()); err != nil {
		t.Error(err)
	}
	if list, err := s.Plans(ctx, "mail"); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	if err := s.DeletePlan(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeletePlan(ctx, "p"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("removed twice: %v", err)
	}
	if p, _, err := put("c1", "mail"); err != nil || p.Version != 1 {
		t.Errorf("after it was removed: %+v %v", p, err)
	}
}

func TestAttemptsAndQuestions(t *testing.T) {
	s, ctx := openPlans(t), t.Context()
	if err := s.CreateRun(ctx, Run{ID: "r1", Kind: "clone", State: RunRunning}, nil); err != nil {
		t.Fatal(err)
	}
	a := Attempt{Run: "r1", Action: "x", Attempt: 1, Round: 1, Begun: time.Now().UTC()}
	if err := s.BeginAttempt(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := s.BeginAttempt(ctx, a); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("begun twice: %v", err)
	}
	a.Ended, a.Unknown, a.Error, a.Kind = a.Begun.Add(time.Second), true, "not known", dr.KindConflict
	if err := s.EndAttempt(ctx, a); err != nil {
		t.Fatal(err)
	}
	// Who was replaced cannot change what its successor recorded.
	late := a
	late.Unknown, late.Done, late.Error = false, true, ""
	if err := s.EndAttempt(ctx, late); err != nil {
		t.Fatal(err)
	}
	list, err := s.Attempts(ctx, "r1", "x")
	if err != nil || len(list) != 1 || !list[0].Unknown || list[0].Done || dr.KindOf(list[0].Err()) != dr.KindConflict {
		t.Errorf("%+v %v", list, err)
	}

	if _, open, err := s.OpenQuestion(ctx, "r1"); open || err != nil {
		t.Errorf("%v %v", open, err)
	}
	q := Question{Run: "r1", Topic: "t1", Message: "go?", Answers: []string{"approve", "skip"}, Asked: a.Begun}
	for range 2 {
		if now, err := s.Ask(ctx, q); err != nil || !now.Asked.Equal(a.Begun) {
			t.Errorf("%+v %v", now, err)
		}
		q.Asked = q.Asked.Add(time.Hour)
	}
	if _, err := s.Ask(ctx, Question{Run: "r1", Topic: "t2"}); err == nil {
		t.Error("two questions at once")
	}
	want := "go?; to answer: understudy run approve r1, or understudy run skip r1 --reason TEXT, or understudy run cancel r1"
	if open, ok, err := s.OpenQuestion(ctx, "r1"); !ok || err != nil || open.Text() != want {
		t.Errorf("%+v %v %v", open, ok, err)
	}
	if _, err := s.Answer(ctx, "r1", "t1", func(q *Question) error { q.Answer, q.By = "approve", "ann"; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(ctx, "r1", "t1", func(*Question) error { return nil }); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("answered twice: %v", err)
	}
	if now, err := s.Question(ctx, "r1", "t1"); err != nil || now.By != "ann" || now.Answered.IsZero() {
		t.Errorf("%+v %v", now, err)
	}
	if _, err := s.Ask(ctx, Question{Run: "r1", Topic: "t2"}); err != nil {
		t.Error(err)
	}
	if all, err := s.Questions(ctx, "r1"); err != nil || len(all) != 2 {
		t.Errorf("%+v %v", all, err)
	}
}
