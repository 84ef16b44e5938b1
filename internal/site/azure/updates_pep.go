package azure

import (
	"context"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/azure/pep"
)

// The privileged endpoint tells how an update stands, and neither which one nor which run of it. Both the API and the
// endpoint say when it began: by that they tell of the same run, so that what one told is not told again of the other.

// slack is by how much the API and the endpoint may differ about times.
const slack = 10 * time.Minute

// Runs that only the endpoint told of.
const (
	prefixUntold = prefixRun + "at-" // and when it began
	untold       = prefixRun + "untold"
	untoldTime   = "20060102T150405Z"
)

// examinePEP asks the endpoint, if there is one: that it answers matters when nothing else does.
func (s *Site) examinePEP(ctx context.Context, add addFinding) {
	if s.pep == nil {
		return
	}
	const check = "privileged endpoint"
	status, err := s.pep.Status(ctx)
	if err != nil {
		add(check, site.FindingFail, dr.Hint(err), "%v", err)
		return
	}
	add(check, site.FindingOK, "", "%s answers: the update is %s", status.Host, status.State)
}

// fromPEP is the run that the endpoint tells of: a known one where it is one of them.
func fromPEP(status pep.Status, known []site.Operation) site.Operation {
	began, ended := period(status.Steps)
	o, is := runAt(known, began)
	if !is {
		o = site.Operation{ID: untold, Title: "Run of an update", Started: began}
		if !began.IsZero() {
			o.ID = prefixUntold + began.UTC().Format(untoldTime)
		}
		// What is older than a run that the API listed is no news, although it is not found.
		newest, some := runAt(known, time.Time{})
		o.Summary = some && began.Before(newest.Started)
		if u, one := installing(known); one {
			o.Title, o.Version = "Run of "+u.Title, u.Version
		}
	}
	o.Steps, o.Step, o.Message = status.Steps, "", ""
	switch strings.ToLower(status.State) {
	case "running":
		o.State, o.Outcome = "InProgress", site.OutcomeRunning
		o.Step, _ = site.FindStep(o.Steps, stepRunning)
	case "completed":
		o.State, o.Outcome = "Succeeded", site.OutcomeSucceeded
	case "failed":
		o.State, o.Outcome = "Failed", site.OutcomeFailed
		o.Step, o.Message = site.FindStep(o.Steps, stepError)
	case "canceled":
		o.State, o.Outcome = "Failed", site.OutcomeFailed // the API knows no other word for it
		o.Step, o.Message = site.FindStep(o.Steps, stepError)
		o.Message = strings.TrimSpace("It was canceled.\n" + o.Message)
	default:
		o.State, o.Outcome = status.State, site.OutcomeWaiting
	}
	if o.Outcome != site.OutcomeRunning && ended.After(o.Started) && !o.Started.IsZero() {
		o.Duration = ended.Sub(o.Started)
	}
	return o
}

// period is when steps began and ended; zero times where they do not say.
func period(steps []site.Step) (began, ended time.Time) {
	for _, s := range steps {
		b, e := period(s.Steps)
		for _, t := range []time.Time{s.Started, b} {
			if !t.IsZero() && (began.IsZero() || t.Before(began)) {
				began = t
			}
		}
		for _, t := range []time.Time{s.Ended, e} {
			if t.After(ended) {
				ended = t
			}
		}
	}
	return began, ended
}

// runs are the runs among operations, newest first.
func runs(operations []site.Operation) []site.Operation {
	out := slices.DeleteFunc(slices.Clone(operations), func(o site.Operation) bool { return !strings.HasPrefix(o.ID, prefixRun) })
	slices.SortStableFunc(out, func(a, b site.Operation) int { return b.Started.Compare(a.Started) })
	return out
}

// runAt finds the run that was under way at a time; the newest when it is not known.
func runAt(operations []site.Operation, began time.Time) (site.Operation, bool) {
	for _, r := range runs(operations) {
		if began.IsZero() || during(r, began) {
			return r, true
		}
	}
	return site.Operation{}, false
}

// during reports whether a run was under way at a time. One that is resumed goes on from when it first began.
func during(r site.Operation, at time.Time) bool {
	if at.Before(r.Started.Add(-slack)) {
		return false
	}
	over := r.Outcome == site.OutcomeSucceeded || r.Outcome == site.OutcomeFailed
	return !over || !at.After(r.Started.Add(r.Duration+slack))
}

// installing is the one update that goes on.
func installing(known []site.Operation) (update site.Operation, one bool) {
	for _, o := range known {
		if strings.HasPrefix(o.ID, prefixUpdate) && o.Outcome == site.OutcomeRunning {
			update, one = o, update.ID == ""
		}
	}
	return update, one
}

// rename has the runs that the API lists know by what ID the endpoint told of them.
func rename(list, known []site.Operation) {
	isKnown := map[string]bool{}
	for _, k := range known {
		isKnown[k.ID] = true
	}
	for _, k := range runs(known) {
		if k.ID != untold && !strings.HasPrefix(k.ID, prefixUntold) {
			continue
		}
		fresh := slices.DeleteFunc(slices.Clone(list), func(o site.Operation) bool { return isKnown[o.ID] || o.Formerly != "" })
		r, is := runAt(fresh, k.Started)
		for i := range list {
			if is && list[i].ID == r.ID {
				list[i].Formerly = k.ID
			}
		}
	}
}
