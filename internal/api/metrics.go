package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/history"
	"understudy/internal/notify"
	"understudy/internal/site"
	"understudy/internal/store"
)

// MetricsBackend tells what is counted.
type MetricsBackend interface {
	// CycleTotals is what the cycles of every group did since the controller started.
	CycleTotals() map[string]history.Sample
	// RunCounts counts the runs that have ended, of all times.
	RunCounts(ctx context.Context) ([]store.RunCount, error)
	// LastRuns are the newest runs of every kind and group that have ended.
	LastRuns(ctx context.Context) ([]store.Run, error)
}

func (s *server) metrics(a huma.API) {
	type text struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	o := op(http.MethodGet, "/metrics", "metrics", "health", "What Prometheus reads; give it a token as bearer_token")
	huma.Register(a, o, func(ctx context.Context, _ *nothing) (*text, error) {
		data, err := exposition(ctx, s.backend)
		return &text{string(metricsFormat), data}, fail(err)
	})
}

// metricsFormat is the text format of Prometheus.
var metricsFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// exposition is what Prometheus reads: how things are at the moment, then the process and the Go runtime.
func exposition(ctx context.Context, b Backend) ([]byte, error) {
	s, p := &scrape{ctx: ctx, backend: b}, page{}
	for _, collect := range []func(page) error{s.groups, s.vaults, s.runs, s.monitors, s.notifications} {
		if err := collect(p); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	p.write(&out)
	r := prometheus.NewRegistry()
	if err := errors.Join(r.Register(collectors.NewGoCollector()), r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))); err != nil {
		return nil, err
	}
	families, err := r.Gather()
	if err != nil {
		return nil, err
	}
	e := expfmt.NewEncoder(&out, metricsFormat)
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// A metric is one that the controller tells.
type metric struct {
	name, help string
	kind       string
	labels     []string
}

// metricList is every metric, in the order of definition.
var metricList []*metric

func define(kind, name, help string, labels ...string) *metric {
	m := &metric{name: "understudy_" + name, help: help, kind: kind, labels: labels}
	metricList = append(metricList, m)
	return m
}

const (
	gauge   = "gauge"
	counter = "counter"
)

// What of a group is not known is left out, never zero.
var (
	groupInfo        = define(gauge, "group_info", "Where a group runs and what state it is in; always 1.", "group", "site", "target", "vault", "policy", "state")
	groupHealth      = define(gauge, "group_health", "1 for the health that a group has, 0 for the others.", "group", "health")
	groupRPO         = define(gauge, "group_rpo_seconds", "Objective for the age of a group's newest recovery point.", "group")
	groupRPOMet      = define(gauge, "group_rpo_met", "Whether a group's newest recovery point is young enough.", "group")
	groupLag         = define(gauge, "group_lag_seconds", "What would be lost if the group's site were lost now.", "group")
	groupRecoverable = define(gauge, "group_recoverable", "Whether there is something to fail over to.", "group")
	groupKnownGood   = define(gauge, "group_known_good_timestamp_seconds", "Instant up to which the vault holds everything.", "group")
	groupFailures    = define(gauge, "group_failures", "Cycles in a row that failed.", "group")
	groupSplitBrain  = define(gauge, "group_split_brain", "Machines seen running where they must not.", "group")
	groupWaiting     = define(gauge, "group_waiting", "Whether a run waits for a person.", "group")
	groupOverdue     = define(gauge, "group_drill_overdue", "Whether a drill is overdue, of groups with a schedule.", "group")
	groupProven      = define(gauge, "group_proven_timestamp_seconds", "When a recovery of the group was last rehearsed with success.", "group")
	groupProvenRTO   = define(gauge, "group_proven_rto_seconds", "How long that recovery took.", "group")
	cycleSeconds     = define(gauge, "group_cycle_seconds", "How long a group's last cycle took.", "group")
	cyclePaused      = define(gauge, "group_cycle_paused_seconds", "How long machines stood still for a group's last cycle.", "group")
	cycles           = define(counter, "group_cycles_total", "Cycles since the controller started, by outcome.", "group", "outcome")
	readBytes        = define(counter, "group_read_bytes_total", "Bytes read from a group's disks since the controller started.", "group")
	changedBytes     = define(counter, "group_changed_bytes_total", "Bytes of a group's disks that were found changed since the controller started.", "group")
	storedBytes      = define(counter, "group_stored_bytes_total", "Bytes of a group put into the vault since the controller started.", "group")

	groupsByHealth = define(gauge, "groups", "Groups by health.", "health")
	vaultBytes     = define(gauge, "vault_bytes", "Bytes that a vault holds, as they were added up last.", "vault")
	vaultObjects   = define(gauge, "vault_objects", "Objects that a vault holds, as they were counted last.", "vault")
	vaultFree      = define(gauge, "vault_free_bytes", "Bytes that a vault can still hold, where that is known.", "vault")

	runsActive     = define(gauge, "runs_active", "Runs that have not ended, by kind and state.", "kind", "state")
	runsEnded      = define(counter, "runs_ended_total", "Runs that have ended, by kind and state.", "kind", "state")
	runLastSuccess = define(gauge, "run_last_success", "Whether the last run of a kind that ended succeeded.", "kind", "group")
	runLastTime    = define(gauge, "run_last_timestamp_seconds", "When the last run of a kind ended.", "kind", "group")

	monitorFailures   = define(gauge, "monitor_failures", "Looks in a row at a site that failed.", "monitor", "site")
	monitorAlarm      = define(gauge, "monitor_alarm", "Whether it was told that a site does not answer.", "monitor", "site")
	monitorAnswered   = define(gauge, "monitor_answered_timestamp_seconds", "When a site last answered.", "monitor", "site")
	monitorOperations = define(gauge, "monitor_operations", "Long operations of a site by how they stand.", "monitor", "site", "outcome")

	problemsOpen      = define(gauge, "problems", "Problems that were told and are not over.", "severity")
	notificationsOpen = define(gauge, "notifications", "Notifications that wait to be sent, or were given up.", "state")
)

// scrape tells how things are at the moment that it is asked.
type scrape struct {
	ctx     context.Context
	backend Backend
}

// page is the text of metrics. With thousands of groups it has a hundred thousand lines, which are written as they come:
// the registry of the client library takes ten times as long to check and to sort them.
type page map[*metric][]byte

func (p page) put(m *metric, value float64, labels ...string) {
	line := append(p[m], m.name...)
	for i, name := range m.labels {
		if i == 0 {
			line = append(line, '{')
		} else {
			line = append(line, ',')
		}
		line = append(append(line, name...), `="`...)
		line = append(appendLabel(line, labels[i]), '"')
	}
	if len(m.labels) > 0 {
		line = append(line, '}')
	}
	p[m] = append(strconv.AppendFloat(append(line, ' '), value, 'g', -1, 64), '\n')
}

func (p page) write(out *bytes.Buffer) {
	for _, m := range metricList {
		if lines := p[m]; len(lines) > 0 {
			fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
			out.Write(lines)
		}
	}
}

// appendLabel appends the value of a label, in which a backslash, a quote and a line's end have one before them.
func appendLabel(line []byte, value string) []byte {
	for _, c := range []byte(strings.ToValidUTF8(value, "\uFFFD")) {
		switch c {
		case '\\', '"':
			line = append(line, '\\', c)
		case '\n':
			line = append(line, '\\', 'n')
		default:
			line = append(line, c)
		}
	}
	return line
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *scrape) groups(p page) error {
	list, err := s.backend.Status(s.ctx, "")
	if err != nil {
		return err
	}
	totals, healths := s.backend.CycleTotals(), map[dr.Health]int{}
	for _, st := range list {
		healths[st.Health]++
		s.group(p, st, totals[st.Group.Name])
	}
	for _, h := range dr.Healths() {
		p.put(groupsByHealth, float64(healths[h]), string(h))
	}
	return nil
}

func (s *scrape) group(p page, st controller.Status, total history.Sample) {
	g := st.Group
	p.put(groupInfo, 1, g.Name, g.Site, g.Target, g.Vault, g.Policy, string(st.Protection.State))
	for _, h := range dr.Healths() {
		p.put(groupHealth, truth(st.Health == h), g.Name, string(h))
	}
	p.put(groupRPO, st.RPO.Seconds(), g.Name)
	p.put(groupRecoverable, truth(st.Recoverable), g.Name)
	if st.Recoverable {
		p.put(groupLag, st.Lose.Seconds(), g.Name)
		p.put(groupRPOMet, truth(st.RPOMet), g.Name)
	}
	if !st.KnownGood.IsZero() {
		p.put(groupKnownGood, unix(st.KnownGood), g.Name)
	}
	p.put(groupFailures, float64(st.Failures), g.Name)
	p.put(groupSplitBrain, float64(len(st.SplitBrain)), g.Name)
	p.put(groupWaiting, truth(st.Waiting != ""), g.Name)
	if st.Drill != nil {
		p.put(groupOverdue, truth(st.Drill.Overdue > 0), g.Name)
	}
	if c := st.LastCycle; c.Kind != "" {
		p.put(cycleSeconds, c.Took.Seconds(), g.Name)
		p.put(cyclePaused, c.Paused.Seconds(), g.Name)
	}
	if proven := st.Protection.ProvenAt; !proven.IsZero() {
		p.put(groupProven, unix(proven), g.Name)
		p.put(groupProvenRTO, st.Protection.ProvenRTO.Seconds(), g.Name)
	}
	p.put(cycles, float64(total.Cycles-total.Failures), g.Name, "succeeded")
	p.put(cycles, float64(total.Failures), g.Name, "failed")
	p.put(readBytes, float64(total.Read), g.Name)
	p.put(changedBytes, float64(total.Changed), g.Name)
	p.put(storedBytes, float64(total.Stored), g.Name)
}

func (s *scrape) vaults(p page) error {
	list, err := s.backend.VaultUsages(s.ctx)
	for name, u := range list {
		if u.At.IsZero() {
			continue
		}
		p.put(vaultBytes, float64(u.Bytes), name)
		p.put(vaultObjects, float64(u.Objects), name)
		if u.Free >= 0 {
			p.put(vaultFree, float64(u.Free), name)
		}
	}
	return err
}

func (s *scrape) runs(p page) error {
	ended, err := s.backend.RunCounts(s.ctx)
	if err != nil {
		return err
	}
	for _, c := range ended {
		p.put(runsEnded, float64(c.Count), c.Kind, string(c.State))
	}
	active, err := s.backend.Runs(s.ctx, store.RunFilter{Active: true, Limit: listMost})
	if err != nil {
		return err
	}
	count := map[[2]string]int{}
	for _, r := range active {
		count[[2]string{r.Kind, string(r.State)}]++
	}
	for key, n := range count {
		p.put(runsActive, float64(n), key[0], key[1])
	}
	last, err := s.backend.LastRuns(s.ctx)
	for _, r := range last {
		p.put(runLastSuccess, truth(r.State == store.RunSucceeded), r.Kind, r.Group)
		p.put(runLastTime, unix(r.Ended), r.Kind, r.Group)
	}
	return err
}

func (s *scrape) monitors(p page) error {
	list, err := s.backend.Monitors(s.ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		p.put(monitorFailures, float64(m.State.Failures), m.Name, m.Site)
		p.put(monitorAlarm, truth(m.State.Alarm), m.Name, m.Site)
		if !m.State.Looked.IsZero() {
			p.put(monitorAnswered, unix(m.State.Looked), m.Name, m.Site)
		}
		count := map[site.Outcome]int{site.OutcomeRunning: 0, site.OutcomeFailed: 0, site.OutcomeAttention: 0, site.OutcomeSucceeded: 0, site.OutcomeWaiting: 0}
		for _, o := range m.State.Operations {
			if !o.Summary { // what it sums up is counted
				count[o.Outcome]++
			}
		}
		for outcome, n := range count {
			p.put(monitorOperations, float64(n), m.Name, m.Site, string(outcome))
		}
	}
	return nil
}

func (s *scrape) notifications(p page) error {
	problems, err := s.backend.Problems(s.ctx)
	if err != nil {
		return err
	}
	worst := map[notify.Severity]int{notify.Warning: 0, notify.Critical: 0}
	for _, v := range problems {
		worst[v.Event.Severity]++
	}
	for severity, n := range worst {
		p.put(problemsOpen, float64(n), string(severity))
	}
	for _, state := range []string{store.NotificationWaiting, store.NotificationDead} {
		n, err := s.backend.CountNotifications(s.ctx, store.NotificationFilter{State: state})
		if err != nil {
			return err
		}
		p.put(notificationsOpen, float64(n), state)
	}
	return nil
}
