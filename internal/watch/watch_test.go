package watch

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/notify"
)

var start = time.Unix(1700000000, 0).UTC()

const repeat = 4 * time.Hour

func lag(severity notify.Severity) Condition {
	return Condition{For: time.Minute, End: "shop is within its target again",
		Event: notify.Event{Key: "lag/shop", Topic: notify.TopicLag, Severity: severity, Group: "shop", Source: "group shop", Subject: "shop would lose 3m", Loss: "3m", Next: []string{"understudy status shop"}}}
}

// world is what a store does with the looks.
type world map[string]Problem

func (w world) look(t *testing.T, at time.Duration, list ...Condition) []notify.Event {
	t.Helper()
	l := Look{At: start.Add(at), Conditions: list, Repeat: repeat}
	changed, events := Next(w, l)
	again, same := Next(w, l) // a look that is repeated after a crash
	if !reflect.DeepEqual(changed, again) || !reflect.DeepEqual(events, same) {
		t.Fatalf("at %s: a look that is repeated leads to something else", at)
	}
	for key, p := range changed {
		if p.Since.IsZero() {
			delete(w, key)
		} else {
			w[key] = p
		}
	}
	return events
}

func (w world) tell(e notify.Event) notify.Event {
	p, e := w[e.Key].Tell(e, e.Time)
	if p.Since.IsZero() {
		delete(w, e.Key)
	} else {
		w[e.Key] = p
	}
	return e
}

// TestNext is the life of a problem: told when it has lasted, told again, told at once when it gets worse, and ended.
func TestNext(t *testing.T) {
	bad, worse := lag(notify.Warning), lag(notify.Critical)
	unknown := Condition{Event: bad.Event, Unknown: true}
	w := world{}
	var first string
	for i, step := range []struct {
		at       time.Duration
		see      []Condition
		kind     notify.Kind
		severity notify.Severity
		repeat   int
		text     string
	}{
		{0, []Condition{bad}, "", "", 0, ""}, // not yet
		{10 * time.Second, nil, "", "", 0, ""},
		{20 * time.Second, []Condition{bad}, "", "", 0, ""}, // it did not last: from the beginning
		{79 * time.Second, []Condition{bad}, "", "", 0, ""},
		{80 * time.Second, []Condition{bad}, notify.Problem, notify.Warning, 0, ""},
		{90 * time.Second, []Condition{bad}, "", "", 0, ""},
		{2 * time.Minute, nil, "", "", 0, ""}, // over for a moment
		{3 * time.Minute, []Condition{bad}, "", "", 0, ""},
		{time.Hour, []Condition{unknown}, "", "", 0, ""}, // nothing is known: it stays
		{2 * time.Hour, []Condition{worse}, notify.Problem, notify.Critical, 1, "came and went 1 times"},
		{3 * time.Hour, []Condition{bad}, "", "", 0, ""},
		{6*time.Hour - time.Second, []Condition{bad}, "", "", 0, ""},
		{6 * time.Hour, []Condition{bad}, notify.Problem, notify.Critical, 2, ""}, // told as bad as it was told before
		{7 * time.Hour, nil, "", "", 0, ""},
		{7*time.Hour + Quiet - time.Second, nil, "", "", 0, ""},
		{7*time.Hour + Quiet, nil, notify.Resolved, notify.Critical, 0, "It lasted 6h59m40s."},
		{8 * time.Hour, nil, "", "", 0, ""},
		{14 * time.Hour, nil, "", "", 0, ""},
	} {
		events := w.look(t, step.at, step.see...)
		if step.kind == "" {
			if len(events) != 0 {
				t.Fatalf("step %d: %+v, want nothing", i, events)
			}
			continue
		}
		if len(events) != 1 {
			t.Fatalf("step %d: %+v, want one", i, events)
		}
		e := events[0]
		if first == "" {
			first = e.ID
		} else if e.Ends != first || e.ID == first {
			t.Errorf("step %d: %s is about %q, want %q", i, e.ID, e.Ends, first)
		}
		if e.Kind != step.kind || e.Severity != step.severity || e.Repeat != step.repeat || !strings.Contains(e.Text, step.text) || e.Key != "lag/shop" || !e.Since.Equal(start.Add(20*time.Second)) {
			t.Errorf("step %d: %+v", i, e)
		}
		if e.Kind == notify.Resolved && (e.Subject != "shop is within its target again" || e.Loss != "" || e.Next != nil) {
			t.Errorf("the end: %+v", e)
		}
	}
	if len(w) != 0 {
		t.Errorf("%v is not forgotten", w)
	}
}

// TestFlapping: what comes and goes for hours is told a few times, and its end once.
func TestFlapping(t *testing.T) {
	w := world{}
	var told []string
	var at time.Duration
	for ; at < 5*time.Hour; at += 10 * time.Second {
		var see []Condition
		if at%(10*time.Minute) < 5*time.Minute {
			see = append(see, lag(notify.Warning))
		}
		for _, e := range w.look(t, at, see...) {
			told = append(told, fmt.Sprint(at, " ", e.Kind, " ", e.Repeat))
		}
	}
	for ; at < 20*time.Hour; at += 10 * time.Second {
		for _, e := range w.look(t, at) {
			told = append(told, fmt.Sprint(at, " ", e.Kind, " ", e.Repeat))
		}
	}
	if len(told) > 8 || !strings.Contains(told[len(told)-1], "resolved") {
		t.Errorf("%d messages:\n%s", len(told), strings.Join(told, "\n"))
	}
	if len(w) != 0 {
		t.Errorf("%v is not forgotten", w)
	}
}

// TestOver: what is over for good is ended at once, if it was told at all.
func TestOver(t *testing.T) {
	w := world{}
	over := Condition{Event: lag("").Event, Over: "shop is no longer protected"}
	w.look(t, 0, lag(notify.Warning))
	if e := w.look(t, time.Second, over); len(e) != 0 || len(w) != 0 {
		t.Errorf("what was not told has no end: %v %v", e, w)
	}
	w.look(t, 0, lag(notify.Warning))
	w.look(t, time.Minute, lag(notify.Warning))
	if e := w.look(t, time.Minute+time.Second, over); len(e) != 1 || e[0].Kind != notify.Resolved || e[0].Subject != over.Over {
		t.Errorf("%v", e)
	}
	if e := w.look(t, time.Minute+2*time.Second, over); len(e) != 0 {
		t.Errorf("its end is told twice: %v", e)
	}
}

// TestTell: news that is no look opens and ends the same problem as looks do.
func TestTell(t *testing.T) {
	failed := notify.Event{ID: "run-1", Key: "failover/shop", Kind: notify.Failure, Severity: notify.Critical, Time: start, Source: "group shop", Subject: "the failover of shop failed"}
	state := Condition{Event: notify.Event{Key: failed.Key, Severity: notify.Critical, Subject: "shop's failover has failed"}, End: "shop's failover is no longer failed"}
	w := world{}
	if e := w.tell(failed); e.Ends != "" || !w[failed.Key].Open() {
		t.Errorf("%+v", e)
	}
	// A look that read what was before the news does not end it.
	if e := w.look(t, time.Second, Condition{Event: state.Event, Over: "all is well"}); len(e) != 0 || !w[failed.Key].Open() {
		t.Errorf("ended by a look at the past: %v", e)
	}
	if e := w.look(t, 10*time.Second, state); len(e) != 0 {
		t.Errorf("told twice: %v", e)
	}
	second := failed
	second.ID, second.Time = "run-2", start.Add(time.Minute)
	if e := w.tell(second); e.Ends != "run-1" || e.Kind != notify.Failure {
		t.Errorf("%+v", e)
	}
	if e := w.look(t, time.Minute+repeat, state); len(e) != 1 || e[0].Ends != "run-1" || e[0].Kind != notify.Problem {
		t.Errorf("not repeated: %v", e)
	}
	done := notify.Event{ID: "run-3", Key: failed.Key, Kind: notify.Success, Severity: notify.Info, Time: start.Add(5 * time.Hour), Subject: "shop was failed over"}
	if e := w.tell(done); e.Ends != "run-1" || e.Severity != notify.Critical || w[failed.Key].Open() {
		t.Errorf("%+v", e)
	}
	// A look that read what was before the success opens nothing.
	if e := w.look(t, 5*time.Hour+time.Second, state); len(e) != 0 || w[failed.Key].Open() {
		t.Errorf("opened again by a look at the past: %v", e)
	}
	done.ID = "run-4"
	if e := w.tell(done); e.Ends != "" || e.Severity != notify.Info {
		t.Errorf("a success of nothing that failed: %+v", e)
	}
	if e := w.tell(notify.Event{ID: "x", Key: "failover/other", Kind: notify.Success, Time: start}); e.Ends != "" || len(w) != 1 {
		t.Errorf("%+v %v", e, w)
	}
}

// TestAnything: whatever is seen, IDs are never used twice, every end has a beginning, and what is open at the end was told.
func TestAnything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	w := world{}
	ids, open := map[string]bool{}, map[string]string{}
	var at time.Duration
	check := func(e notify.Event) {
		if ids[e.ID] {
			t.Fatalf("seed %d: %s is used twice", seed, e.ID)
		}
		ids[e.ID] = true
		switch e.Kind {
		case notify.Resolved:
			if open[e.Key] == "" || e.Ends != open[e.Key] {
				t.Fatalf("seed %d: %+v ends %q", seed, e, open[e.Key])
			}
			delete(open, e.Key)
		default:
			if o := open[e.Key]; e.Ends != o {
				t.Fatalf("seed %d: %+v repeats %q", seed, e, o)
			}
			if open[e.Key] == "" {
				open[e.Key] = e.ID
			}
		}
	}
	for range 20000 {
		at += time.Duration(1+r.IntN(1000)) * time.Second
		var see []Condition
		for i := range 3 {
			c := lag([]notify.Severity{notify.Warning, notify.Critical}[r.IntN(2)])
			c.Event.Key = fmt.Sprint("k/", i)
			switch r.IntN(12) {
			case 0, 1, 2, 3, 4:
				see = append(see, c)
			case 5:
				c.Unknown = true
				see = append(see, c)
			case 6:
				c.Over = "gone"
				see = append(see, c)
			}
		}
		if r.IntN(5) == 0 {
			check(w.tell(notify.Event{ID: fmt.Sprint("e", at), Key: fmt.Sprint("k/", r.IntN(3)), Kind: notify.Failure, Time: start.Add(at)}))
		}
		for _, e := range w.look(t, at, see...) {
			check(e)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w)) {
		if w[key].Open() != (open[key] != "") {
			t.Errorf("seed %d: %s: open %v, told %q", seed, key, w[key].Open(), open[key])
		}
	}
}
