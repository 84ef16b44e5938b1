// Package monitor watches long operations of sites and tells what changed: each change once, success included, since no
// news may also mean that nobody listens. That a site does not answer is news of its own, and so is its end.
package monitor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"understudy/internal/notify"
	"understudy/internal/site"
)

// DefaultPatience is how many looks in a row may fail before that is news.
const DefaultPatience = 3

// treesKept is how many operations that ended keep their steps.
const treesKept = 3

// A State is what a monitor last knew. It is kept with the news that came of it, in one transaction.
type State struct {
	Known      bool                      `json:"known"` // there was a first look
	Operations map[string]site.Operation `json:"operations,omitempty"`
	Looked     time.Time                 `json:"looked,omitzero"`    // when the site last answered by its usual way
	Failures   int                       `json:"failures,omitempty"` // looks in a row that failed
	Problem    string                    `json:"problem,omitempty"`
	Alarm      bool                      `json:"alarm,omitempty"` // it was told that the site does not answer
	News       uint64                    `json:"news,omitempty"`  // how many events there were
	Way        string                    `json:"way,omitempty"`   // that told at the last look; empty when none did
}

// A Look is what one look at a site found. With an error it is what another way told, if it told anything: the site
// counts as one that does not answer, and of what is not listed nothing is known.
type Look struct {
	Monitor  string
	Site     string
	At       time.Time
	Answer   site.Answer
	Err      error
	Patience int // looks in a row that may fail; DefaultPatience when 0
}

func (l Look) sites() []string {
	if l.Site == "" {
		return nil
	}
	return []string{l.Site}
}

// Key names the problem that a monitor's site does not answer, or that an operation needs attention.
func Key(monitor, operation string) string {
	if operation == "" {
		return "monitor/" + monitor
	}
	return "monitor/" + monitor + "/" + operation
}

// Next returns the state after a look, and what is news. The first look is none: nothing changed yet. It is a pure
// function, so that a look which is repeated after a crash leads to the same.
func (s State) Next(l Look) (State, []notify.Event) {
	next := s
	next.Way = l.Answer.Way
	var events []notify.Event
	tell := func(kind notify.Kind, key, subject, text string) {
		next.News++
		severity := notify.Info
		if kind == notify.Failure || kind == notify.Problem {
			severity = notify.Warning
		}
		events = append(events, notify.Event{ID: fmt.Sprintf("%s-%d", l.Monitor, next.News), Time: l.At.UTC(), Source: "monitor " + l.Monitor, Kind: kind,
			Topic: notify.TopicMonitor, Severity: severity, Key: key, Sites: l.sites(), Subject: subject, Text: text, Next: []string{"understudy monitor show " + l.Monitor}, Link: "/monitors/" + l.Monitor})
	}
	next.Operations = map[string]site.Operation{}
	if l.Err != nil {
		next.Failures, next.Problem = s.Failures+1, l.Err.Error()
		if patience := cmp.Or(l.Patience, DefaultPatience); next.Failures >= patience && !s.Alarm {
			next.Alarm = true
			tell(notify.Problem, Key(l.Monitor, ""), l.Monitor+" does not answer", s.silence(l, next.Failures))
		}
		maps.Copy(next.Operations, s.Operations)
	} else {
		if s.Alarm {
			tell(notify.Resolved, Key(l.Monitor, ""), l.Monitor+" answers again", fmt.Sprintf("after %d looks that failed", s.Failures))
		}
		next.Failures, next.Problem, next.Alarm, next.Looked, next.Known = 0, "", false, l.At.UTC(), true
	}
	listed := slices.SortedFunc(slices.Values(l.Answer.Operations), func(a, b site.Operation) int { return strings.Compare(a.ID, b.ID) })
	for _, o := range listed {
		was, seen := s.Operations[o.ID]
		if !seen && o.Formerly != "" {
			was, seen = s.Operations[o.Formerly]
			delete(next.Operations, o.Formerly)
		}
		next.Operations[o.ID] = o
		changed := was.State != o.State || was.Outcome != o.Outcome
		if o.Summary || seen && !changed || !seen && !s.Known {
			continue
		}
		kind, subject, text := describe(o, was)
		key := ""
		if kind == notify.Problem || kind == notify.Resolved {
			key = Key(l.Monitor, o.ID)
		}
		tell(kind, key, subject, text)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Operations)) {
		// A complaint that is no longer listed is over. Operations are only forgotten.
		if o := s.Operations[id]; o.Outcome == site.OutcomeAttention && !o.Summary {
			if _, still := next.Operations[id]; !still {
				tell(notify.Resolved, Key(l.Monitor, id), o.Title+": over", "it is no longer listed")
			}
		}
	}
	prune(next.Operations)
	return next, events
}

// silence says that the site does not answer, and who does in its place.
func (s State) silence(l Look, failures int) string {
	text := fmt.Sprintf("%d looks in a row failed: %s", failures, l.Err)
	if !s.Looked.IsZero() {
		text += "\nIt last answered at " + s.Looked.Format(time.RFC3339) + "."
	}
	if l.Answer.Way != "" {
		return text + "\nIn its place the " + l.Answer.Way + " tells how operations stand that go on. Nothing is known of the rest."
	}
	return text + "\nWhat happened since is not known."
}

// prune forgets the steps of old operations: the state is written at each look. What runs keeps them.
func prune(operations map[string]site.Operation) {
	newest := slices.SortedFunc(maps.Keys(operations), func(a, b string) int {
		return cmp.Or(operations[b].Started.Compare(operations[a].Started), strings.Compare(a, b))
	})
	kept := 0
	for _, id := range newest {
		o := operations[id]
		if len(o.Steps) == 0 || o.Outcome == site.OutcomeRunning {
			continue
		}
		if kept++; kept > treesKept {
			o.Steps = nil
			operations[id] = o
		}
	}
}

var kinds = map[site.Outcome]notify.Kind{
	site.OutcomeWaiting: notify.Information, site.OutcomeRunning: notify.Information, site.OutcomeSucceeded: notify.Success,
	site.OutcomeFailed: notify.Failure, site.OutcomeAttention: notify.Problem, site.OutcomeResolved: notify.Resolved,
}

// describe tells of an operation that changed.
func describe(o, was site.Operation) (kind notify.Kind, subject, text string) {
	subject = o.Title
	if o.Version != "" && !strings.Contains(o.Title, o.Version) {
		subject += " " + o.Version
	}
	subject += ": " + string(o.Outcome)
	var lines []string
	if was.State != "" && was.State != o.State {
		lines = append(lines, "State: "+was.State+" -> "+o.State)
	} else {
		lines = append(lines, "State: "+o.State)
	}
	if !o.Started.IsZero() {
		lines = append(lines, "Began: "+o.Started.UTC().Format(time.RFC3339))
	}
	if o.Duration > 0 {
		lines = append(lines, "Took: "+o.Duration.Round(time.Second).String())
	}
	if o.Step != "" {
		lines = append(lines, "Step: "+o.Step)
	}
	if o.Message != "" {
		lines = append(lines, o.Message)
	}
	return kinds[o.Outcome], subject, strings.Join(lines, "\n")
}
