package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/site"
	"understudy/internal/store"
)

// metricsRuns is how many of the newest runs are counted.
const metricsRuns = 10000

func (s *server) metrics(a huma.API) {
	type text struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	o := op(http.MethodGet, "/metrics", "metrics", "health", "What Prometheus reads; give it a token as bearer_token")
	huma.Register(a, o, func(ctx context.Context, _ *nothing) (*text, error) {
		r := prometheus.NewPedanticRegistry()
		c := &scrape{ctx: ctx, backend: s.backend}
		for _, one := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
			if err := r.Register(one); err != nil {
				return nil, fail(err)
			}
		}
		families, err := r.Gather()
		if err != nil {
			return nil, fail(err)
		}
		var buf bytes.Buffer
		format := expfmt.NewFormat(expfmt.TypeTextPlain)
		e := expfmt.NewEncoder(&buf, format)
		for _, f := range families {
			if err := e.Encode(f); err != nil {
				return nil, fail(err)
			}
		}
		return &text{string(format), buf.Bytes()}, nil
	})
}

// scrape tells how things are at the moment that it is asked. What is not known is left out, never zero.
type scrape struct {
	ctx     context.Context
	backend Backend
}

// Describe implements prometheus.Collector: what there is depends on what is protected.
func (*scrape) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *scrape) Collect(ch chan<- prometheus.Metric) {
	p := &page{ch: ch}
	for what, collect := range map[string]func(*page) error{"groups": s.groups, "runs": s.runs, "monitors": s.monitors, "notifications": s.notifications} {
		if err := collect(p); err != nil {
			ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("understudy_"+what, what, nil, nil), fmt.Errorf("%s: %w", what, err))
		}
	}
}

// page takes metrics.
type page struct{ ch chan<- prometheus.Metric }

type labels map[string]string

func (p *page) put(kind prometheus.ValueType, name, help string, value float64, l labels) {
	p.ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("understudy_"+name, help, nil, prometheus.Labels(l)), kind, value)
}

func (p *page) gauge(name, help string, value float64, l labels) {
	p.put(prometheus.GaugeValue, name, help, value, l)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *scrape) groups(p *page) error {
	list, err := s.backend.Status(s.ctx, "")
	if err != nil {
		return err
	}
	for _, st := range list {
		s.group(p, st)
	}
	return nil
}

func (s *scrape) group(p *page, st controller.Status) {
	l := labels{"group": st.Group.Name}
	p.gauge("group_info", "Where a group runs and what state it is in; always 1.", 1,
		labels{"group": st.Group.Name, "site": st.Group.Site, "target": st.Group.Target, "vault": st.Group.Vault, "state": string(st.Protection.State)})
	p.gauge("group_rpo_seconds", "Objective for the age of a group's newest recovery point.", st.RPO.Seconds(), l)
	p.gauge("group_recoverable", "Whether there is something to fail over to.", truth(st.Recoverable), l)
	if st.Recoverable {
		p.gauge("group_lag_seconds", "What would be lost if the group's site were lost now.", st.Lose.Seconds(), l)
		p.gauge("group_rpo_met", "Whether a group's newest recovery point is young enough.", truth(st.RPOMet), l)
	}
	if !st.KnownGood.IsZero() {
		p.gauge("group_known_good_timestamp_seconds", "Instant up to which the vault holds everything.", unix(st.KnownGood), l)
	}
	p.gauge("group_spooled", "Captures that wait until the vault can be reached; they are no recovery points yet.", float64(st.Spool.Points), l)
	p.gauge("group_spooled_bytes", "Their size.", float64(st.Spool.Bytes), l)
	p.gauge("group_failures", "Cycles in a row that failed.", float64(st.Failures), l)
	p.gauge("group_split_brain", "Machines seen running where they must not.", float64(len(st.SplitBrain)), l)
	p.gauge("group_waiting", "Whether a run waits for a person.", truth(st.Waiting != ""), l)
	if c := st.LastCycle; c.Kind != "" {
		p.gauge("group_cycle_seconds", "How long a group's last cycle took.", c.Took.Seconds(), l)
		p.gauge("group_cycle_paused_seconds", "How long machines stood still for a group's last cycle.", c.Paused.Seconds(), l)
		p.gauge("group_cycle_read_bytes", "What a group's last cycle read.", float64(c.Read), l)
		p.gauge("group_cycle_changed_bytes", "What a group's last cycle found changed.", float64(c.Changed), l)
		p.gauge("group_cycle_stored_bytes", "What a group's last cycle put into the vault.", float64(c.Stored), l)
	}
	if proven := st.Protection.ProvenAt; !proven.IsZero() {
		p.gauge("group_proven_timestamp_seconds", "When a recovery of the group was last rehearsed with success.", unix(proven), l)
		p.gauge("group_proven_rto_seconds", "How long that recovery took.", time.Duration(st.Protection.ProvenRTO).Seconds(), l)
	}
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *scrape) runs(p *page) error {
	list, err := s.backend.Runs(s.ctx, store.RunFilter{Limit: metricsRuns})
	if err != nil {
		return err
	}
	count := map[[2]string]int{}
	newest := map[[2]string]store.Run{}
	for _, r := range list { // the newest first
		count[[2]string{r.Kind, string(r.State)}]++
		if key := [2]string{r.Kind, r.Group}; r.State.Ended() && newest[key].ID == "" {
			newest[key] = r
		}
	}
	for key, n := range count {
		p.gauge("runs", "Runs by kind and state, of those that are remembered.", float64(n), labels{"kind": key[0], "state": key[1]})
	}
	for key, r := range newest {
		l := labels{"kind": key[0], "group": key[1]}
		p.gauge("run_last_success", "Whether the last run of a kind that ended succeeded.", truth(r.State == store.RunSucceeded), l)
		p.gauge("run_last_timestamp_seconds", "When the last run of a kind ended.", unix(r.Ended), l)
	}
	return nil
}

func (s *scrape) monitors(p *page) error {
	list, err := s.backend.Monitors(s.ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		l := labels{"monitor": m.Name, "site": m.Site}
		p.gauge("monitor_failures", "Looks in a row at a site that failed.", float64(m.State.Failures), l)
		p.gauge("monitor_alarm", "Whether it was told that a site does not answer.", truth(m.State.Alarm), l)
		if !m.State.Looked.IsZero() {
			p.gauge("monitor_answered_timestamp_seconds", "When a site last answered.", unix(m.State.Looked), l)
		}
		count := map[site.Outcome]int{site.OutcomeRunning: 0, site.OutcomeFailed: 0, site.OutcomeAttention: 0, site.OutcomeSucceeded: 0, site.OutcomeWaiting: 0}
		for _, o := range m.State.Operations {
			if !o.Summary { // what it sums up is counted
				count[o.Outcome]++
			}
		}
		for outcome, n := range count {
			p.gauge("monitor_operations", "Long operations of a site by how they stand.", float64(n), labels{"monitor": m.Name, "site": m.Site, "outcome": string(outcome)})
		}
	}
	return nil
}

// notificationsMost bounds how many notifications are counted.
const notificationsMost = 10000

func (s *scrape) notifications(p *page) error {
	problems, err := s.backend.Problems(s.ctx)
	if err != nil {
		return err
	}
	worst := map[notify.Severity]int{notify.Warning: 0, notify.Critical: 0}
	for _, v := range problems {
		worst[v.Event.Severity]++
	}
	for severity, n := range worst {
		p.gauge("problems", "Problems that were told and are not over.", float64(n), labels{"severity": string(severity)})
	}
	for _, state := range []string{store.NotificationWaiting, store.NotificationDead} {
		list, err := s.backend.Notifications(s.ctx, store.NotificationFilter{State: state, Limit: notificationsMost})
		if err != nil && dr.KindOf(err) != dr.KindNotFound {
			return err
		}
		p.gauge("notifications", "Notifications that wait to be sent, or were given up.", float64(len(list)), labels{"state": state})
	}
	return nil
}
