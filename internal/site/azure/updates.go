package azure

import (
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
	Status       string      `json:"status"`
	ErrorMessage string      `json:"errorMessage"`
	Steps        []stackStep `json:"steps"`
}

type stackAlert struct {
	ID         string `json:"id"`
	Properties struct {
		Title    string `json:"title"`
		State    string `json:"state"`
		Severity string `json:"severity"`
		Created  string `json:"createdTimestamp"`
	} `json:"properties"`
}

// Operations implements site.Watcher: the updates, their runs and the alerts about them.
func (s *Site) Operations(ctx context.Context) ([]site.Operation, error) {
	if s.cfg.Updates == "" {
		return nil, dr.WithHint(fmt.Errorf("site %s watches no updates", s.cfg.Name), dr.KindInvalid, "--set updates=REGION, for the administrator's endpoint of an Azure Stack Hub")
	}
	system := "/subscriptions/" + s.cfg.Subscription + "/resourceGroups/System." + s.cfg.Updates + "/providers/"
	at := system + "Microsoft.Update.Admin/updateLocations/" + s.cfg.Updates
	updates, err := list[stackUpdate](ctx, s.rest, at+"/updates", nil)
	if err != nil {
		return nil, fmt.Errorf("list updates of %s: %w", s.cfg.Updates, explain(err))
	}
	var out []site.Operation
	for _, u := range updates {
		// An update's name repeats the region: only the end of its ID works in a path.
		name := lastName(u.ID)
		title := u.Properties.DisplayName
		if title == "" {
			title = "Update " + name
		}
		out = append(out, site.Operation{ID: "update/" + name, Title: title, Version: u.Properties.Version, State: u.Properties.State, Outcome: updateOutcome(u.Properties.State)})
		runs, err := list[stackRun](ctx, s.rest, at+"/updates/"+name+"/updateRuns", nil)
		if err != nil {
			return nil, fmt.Errorf("list runs of update %s: %w", name, explain(err))
		}
		for _, r := range runs {
			out = append(out, r.operation(title, u.Properties.Version))
		}
	}
	alerts, err := list[stackAlert](ctx, s.rest, system+"Microsoft.InfrastructureInsights.Admin/regionHealths/"+s.cfg.Updates+"/alerts", nil)
	if err != nil {
		return nil, fmt.Errorf("list alerts of %s: %w", s.cfg.Updates, explain(err))
	}
	for _, a := range alerts {
		outcome := site.OutcomeAttention
		if !strings.EqualFold(a.Properties.State, "Active") {
			outcome = site.OutcomeResolved
		}
		o := site.Operation{ID: "alert/" + lastName(a.ID), Title: a.Properties.Severity + " alert: " + a.Properties.Title, State: a.Properties.State, Outcome: outcome}
		o.Started, _ = time.Parse(time.RFC3339Nano, a.Properties.Created) // left out when it is not told
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b site.Operation) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// updateOutcome says what the state of an update means. States that are not known are waiting: that they changed is told.
func updateOutcome(state string) site.Outcome {
	switch low := strings.ToLower(state); {
	case low == "installed":
		return site.OutcomeSucceeded
	case low == "installing" || low == "preparing" || low == "downloading" || low == "healthchecking":
		return site.OutcomeRunning
	case strings.HasSuffix(low, "failed"):
		return site.OutcomeFailed
	}
	return site.OutcomeWaiting
}

func (r stackRun) operation(title, version string) site.Operation {
	p := r.Properties
	o := site.Operation{ID: "run/" + lastName(r.ID), Title: "Run of " + title, Version: version, State: p.State, Duration: isoDuration(p.Duration)}
	o.Started, _ = time.Parse(time.RFC3339Nano, p.TimeStarted) // left out when it is not told
	switch strings.ToLower(p.State) {
	case "succeeded":
		o.Outcome = site.OutcomeSucceeded
	case "failed", "canceled":
		o.Outcome = site.OutcomeFailed
		o.Step, o.Message = p.Progress.find("error")
	case "inprogress":
		o.Outcome = site.OutcomeRunning
		o.Step, _ = p.Progress.find("inprogress")
	default:
		o.Outcome = site.OutcomeWaiting
	}
	return o
}

// find returns the path of the deepest step of a status, and its message.
func (s stackStep) find(status string) (path, message string) {
	for _, sub := range s.Steps {
		if p, m := sub.find(status); p != "" {
			if s.Name != "" {
				p = s.Name + " > " + p
			}
			return p, m
		}
	}
	if strings.EqualFold(s.Status, status) {
		return s.Name, s.ErrorMessage
	}
	return "", ""
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
