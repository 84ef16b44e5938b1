package azure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Updates of Azure Stack Hub, as its administrator's Resource Manager tells of them. Its own pollers cannot be used: what
// it answers to the beginning of an update is the address of something that is not there yet.

type stackUpdate struct {
	ID         string `json:"id"`
	Properties struct {
		DisplayName string `json:"displayName"`
		UpdateName  string `json:"updateName"`
		Version     string `json:"version"`
		State       string `json:"state"`
	} `json:"properties"`
}

type stackRun struct {
	ID         string `json:"id"`
	Properties struct {
		State       string    `json:"state"`
		TimeStarted string    `json:"timeStarted"`
		Duration    string    `json:"duration"` // ISO 8601
		Progress    stackStep `json:"progress"`
	} `json:"properties"`
}

type stackStep struct {
	Name         string      `json:"name"`
	Description  string      `json:"description"`
	Status       string      `json:"status"`
	ErrorMessage string      `json:"errorMessage"`
	Started      string      `json:"startTimeUtc"`
	Ended        string      `json:"endTimeUtc"`
	Steps        []stackStep `json:"steps"`
}

// A stackText is a text in pieces: ends of lines and links are pieces of their own.
type stackText []struct {
	Text string `json:"text"`
	Type string `json:"type"`
	URI  string `json:"uri"`
}

type stackLocation struct {
	Properties struct {
		State   string `json:"state"`
		Version string `json:"currentVersion"`
	} `json:"properties"`
}

type stackAlert struct {
	ID         string `json:"id"`
	Properties struct {
		Title    string `json:"title"`
		State    string `json:"state"`
		Severity string `json:"severity"`
		Created  string `json:"createdTimestamp"`

		Description stackText `json:"description"`
		Remediation stackText `json:"remediation"`
	} `json:"properties"`
}

// Who tells of updates.
const (
	wayAPI = "administrator's API"
	wayPEP = "privileged endpoint at "
)

// Beginnings of the IDs of operations.
const (
	prefixLocation = "location/"
	prefixUpdate   = "update/"
	prefixRun      = "run/"
	prefixAlert    = "alert/"
)

// Operations implements site.Watcher: the updates, their runs and the alerts about them. While the API fails the
// privileged endpoint is asked, which knows of one run only.
func (s *Site) Operations(ctx context.Context, known []site.Operation) (site.Answer, error) {
	if s.cfg.Updates == "" {
		return site.Answer{}, dr.WithHint(fmt.Errorf("site %s watches no updates", s.cfg.Name), dr.KindInvalid, "--set updates=REGION, for the administrator's endpoint of an Azure Stack Hub")
	}
	asking, cancel := s.beforePEP(ctx)
	defer cancel()
	list, err := s.updates(asking)
	if err == nil {
		rename(list, known)
		return site.Answer{Way: wayAPI, Operations: list}, nil
	}
	if s.pep == nil || ctx.Err() != nil {
		return site.Answer{}, err
	}
	status, worse := s.pep.Status(ctx)
	if worse != nil {
		return site.Answer{}, dr.WithHint(fmt.Errorf("%w; nor does the privileged endpoint tell: %w", err, worse), dr.KindUnavailable, dr.Hint(worse))
	}
	return site.Answer{Way: wayPEP + status.Host, Operations: []site.Operation{fromPEP(status, known)}}, err
}

// beforePEP leaves half of the time for the privileged endpoint.
func (s *Site) beforePEP(ctx context.Context) (context.Context, context.CancelFunc) {
	until, bounded := ctx.Deadline()
	if s.pep == nil || !bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(until)/2)
}

// updates lists what the API tells.
func (s *Site) updates(ctx context.Context) ([]site.Operation, error) {
	system := "/subscriptions/" + s.cfg.Subscription + "/resourceGroups/System." + s.cfg.Updates + "/providers/"
	at := system + "Microsoft.Update.Admin/updateLocations/" + s.cfg.Updates
	var location stackLocation
	if err := s.rest.get(ctx, at, nil, &location); err != nil {
		return nil, fmt.Errorf("read update location %s: %w", s.cfg.Updates, explain(err))
	}
	out := []site.Operation{{ID: prefixLocation + s.cfg.Updates, Title: "Region " + s.cfg.Updates, Version: location.Properties.Version,
		State: location.Properties.State, Outcome: updateOutcome(location.Properties.State), Summary: true}}
	updates, err := list[stackUpdate](ctx, s.rest, at+"/updates", nil)
	if err != nil {
		return nil, fmt.Errorf("list updates of %s: %w", s.cfg.Updates, explain(err))
	}
	for _, u := range updates {
		// An update's name repeats the region: only the end of its ID works in a path.
		name := lastName(u.ID)
		runs, err := list[stackRun](ctx, s.rest, at+"/updates/"+name+"/updateRuns", nil)
		if err != nil {
			return nil, fmt.Errorf("list runs of update %s: %w", name, explain(err))
		}
		o := site.Operation{ID: prefixUpdate + name, Title: cmp.Or(u.Properties.DisplayName, "Update "+name), Version: u.Properties.Version,
			State: u.Properties.State, Outcome: updateOutcome(u.Properties.State)}
		var newest site.Operation
		for _, r := range runs {
			run := r.operation(o.Title, o.Version)
			out = append(out, run)
			if newest.ID == "" || run.Started.After(newest.Started) {
				newest = run
			}
		}
		o.Summary = summary(o, newest)
		out = append(out, o)
	}
	alerts, err := list[stackAlert](ctx, s.rest, system+"Microsoft.InfrastructureInsights.Admin/regionHealths/"+s.cfg.Updates+"/alerts", nil)
	if err != nil {
		return nil, fmt.Errorf("list alerts of %s: %w", s.cfg.Updates, explain(err))
	}
	for _, a := range alerts {
		out = append(out, a.operation())
	}
	slices.SortFunc(out, func(a, b site.Operation) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// summary reports whether the state of an update says what its newest run tells, with more: installing and preparing
// are runs. A run may be listed, and change, a little earlier or later than its update.
func summary(update, newest site.Operation) bool {
	state := strings.ToLower(update.State)
	if state != "failed" && !strings.HasPrefix(state, "install") && !strings.HasPrefix(state, "prepar") {
		return false
	}
	return update.Outcome == site.OutcomeRunning || newest.Outcome == site.OutcomeRunning || newest.Outcome == update.Outcome
}

func (a stackAlert) operation() site.Operation {
	p := a.Properties
	o := site.Operation{ID: prefixAlert + lastName(a.ID), Title: p.Severity + " alert: " + p.Title, State: p.State, Outcome: site.OutcomeResolved}
	o.Started, _ = time.Parse(time.RFC3339Nano, p.Created) // left out when it is not told
	if strings.EqualFold(p.State, "Active") {
		o.Outcome = site.OutcomeAttention
		o.Message = strings.TrimSpace(p.Description.String() + "\n" + p.Remediation.String())
	}
	return o
}

func (t stackText) String() string {
	var b strings.Builder
	for _, piece := range t {
		switch {
		case piece.Type == "NewLine":
			b.WriteByte('\n')
		case piece.Type == "LinkBegin" && piece.URI != "":
			b.WriteString(piece.URI + " ")
		default:
			b.WriteString(piece.Text)
		}
	}
	return strings.TrimSpace(b.String())
}

// updateOutcome says what the state of an update, or of a region, means. States that are not known are waiting: that they
// changed is told.
func updateOutcome(state string) site.Outcome {
	switch low := strings.ToLower(state); {
	case strings.HasPrefix(low, "notapplicable"): // because another one is in progress
		return site.OutcomeWaiting
	case low == "installed" || low == "appliedsuccessfully":
		return site.OutcomeSucceeded
	case low == "installing" || low == "preparing" || low == "downloading" || low == "healthchecking" || strings.HasSuffix(low, "inprogress"):
		return site.OutcomeRunning
	case strings.HasSuffix(low, "failed"):
		return site.OutcomeFailed
	case low == "needsattention":
		return site.OutcomeAttention
	}
	return site.OutcomeWaiting
}

func (r stackRun) operation(title, version string) site.Operation {
	p := r.Properties
	o := site.Operation{ID: prefixRun + lastName(r.ID), Title: "Run of " + title, Version: version, State: p.State, Duration: isoDuration(p.Duration), Steps: p.Progress.steps()}
	o.Started, _ = time.Parse(time.RFC3339Nano, p.TimeStarted) // left out when it is not told
	switch strings.ToLower(p.State) {
	case "succeeded":
		o.Outcome = site.OutcomeSucceeded
	case "failed", "canceled":
		o.Outcome = site.OutcomeFailed
		o.Step, o.Message = site.FindStep(o.Steps, stepError)
	case "inprogress":
		o.Outcome = site.OutcomeRunning
		o.Step, _ = site.FindStep(o.Steps, stepRunning)
	default:
		o.Outcome = site.OutcomeWaiting
	}
	return o
}

// Status of a step.
const (
	stepError   = "Error"
	stepRunning = "InProgress"
)

// steps returns the tree of steps. The root has a name, or is there for the others only.
func (s stackStep) steps() []site.Step {
	of := site.Step{Name: s.Name, Description: s.Description, Status: s.Status, Message: s.ErrorMessage}
	of.Started, _ = time.Parse(time.RFC3339Nano, s.Started) // left out when it is not told
	of.Ended, _ = time.Parse(time.RFC3339Nano, s.Ended)
	for _, sub := range s.Steps {
		of.Steps = append(of.Steps, sub.steps()...)
	}
	if s.Name == "" {
		return of.Steps
	}
	return []site.Step{of}
}

// isoDuration reads a duration such as PT2H12M5.45S or P1DT3H; 0 for anything else.
func isoDuration(text string) (d time.Duration) {
	rest, ok := strings.CutPrefix(text, "P")
	if !ok {
		return 0
	}
	date, clock, _ := strings.Cut(rest, "T")
	for _, part := range []struct {
		text  string
		units map[byte]time.Duration
	}{{date, map[byte]time.Duration{'D': 24 * time.Hour}}, {clock, map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}}} {
		for t := part.text; t != ""; {
			i := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
			if i <= 0 {
				return 0
			}
			n, err := strconv.ParseFloat(t[:i], 64)
			unit, known := part.units[t[i]]
			if err != nil || !known {
				return 0
			}
			d += time.Duration(n * float64(unit))
			t = t[i+1:]
		}
	}
	return d
}
