package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/extension/collector"
)

const (
	agent      = "metrics-agent"
	agentEvery = 2.0 // seconds between heartbeats, by the rules of both sites

	// servicePort is where guests find their site's collector, the same address at both sites: what an agent was told
	// at east is answered at west, by another collector.
	servicePort = 9100
	serviceHost = "10.0.2.100"
)

// planText is the plan by which the shop is failed over. It needs nobody.
const planText = `name: shop
group: shop
stages:
  - {name: database, machines: [shop-db]}
  - {name: front, machines: [shop-web]}
after:
  - {name: revive the agents, extensions: {}, timeout: 5m}
`

// startCollectors starts the collector of each site, in the site's folder: it dies with its site.
func (d *demo) startCollectors(ctx context.Context) error {
	d.collectors = map[string]*collector.Client{}
	for _, site := range []string{"east", "west"} {
		dir := filepath.Join(d.dir, site, "collector")
		log, err := os.Create(filepath.Join(d.dir, site+"-collector.log"))
		if err != nil {
			return err
		}
		cmd := exec.Command(d.Program, "collector", "serve", "--dir", dir, "--listen", "127.0.0.1:0")
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = detached()
		err = cmd.Start()
		if err = errors.Join(err, log.Close()); err != nil {
			return fmt.Errorf("start the collector of %s: %w", site, err)
		}
		go cmd.Wait() // it ends with its site, or with the demonstration
		if d.collectors[site], err = d.waitCollector(ctx, site, dir); err != nil {
			return err
		}
		if err := d.collectors[site].PutRule(ctx, collector.Rule{Name: "shop-" + site, Seconds: agentEvery}); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) waitCollector(ctx context.Context, site, dir string) (*collector.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if text, err := os.ReadFile(filepath.Join(dir, collector.URLFile)); err == nil {
			c := collector.NewClient(strings.TrimSpace(string(text)), func() (string, error) {
				token, err := os.ReadFile(filepath.Join(dir, collector.TokenFile))
				return strings.TrimSpace(string(token)), err
			})
			if _, err := c.Rules(ctx); err == nil {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(filepath.Join(d.dir, site+"-collector.log"))
			return nil, fmt.Errorf("the collector of %s does not answer: %w\n%s", site, ctx.Err(), text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// collectorSettings are a site's settings about its collector.
func (d *demo) collectorSettings(site string) (map[string]string, error) {
	at, err := url.Parse(d.collectors[site].URL())
	if err != nil {
		return nil, err
	}
	s := map[string]string{
		"service.collector":  fmt.Sprintf("%d=%s", servicePort, at.Host),
		"collector.url":      at.String(),
		"collector.token":    "file:" + filepath.Join(d.dir, site, "collector", collector.TokenFile),
		"collector.endpoint": fmt.Sprintf("http://%s:%d", serviceHost, servicePort),
	}
	if site == "west" {
		s["collector.rules"] = "shop-east=shop-west"
	}
	return s, nil
}

// installAgents installs the metrics agent on both machines at east.
func (d *demo) installAgents(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, machine := range []string{dbName, web} {
		wg.Go(func() {
			_, errs[i] = d.client.InstallExtension(ctx, "east", machine, agent, wire.ExtensionInstall{Rules: []string{"shop-east"}})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.say("both machines run a %s: east's collector registered them and receives their heartbeats", agent)
	return nil
}

// applyPlan saves the plan of the shop.
func (d *demo) applyPlan(ctx context.Context) error {
	if _, err := d.client.ApplyPlan(ctx, wire.PlanText{File: "shop.yaml", Text: planText}); err != nil {
		return err
	}
	d.say("recovery plan shop: the database, then the front, then the agents revived; no step needs a person")
	return nil
}

// waitInventory waits until the recovery points name the extensions of both machines.
func (d *demo) waitInventory(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		list, err := d.client.GroupExtensions(ctx, group, client.GroupExtensionsQuery{Point: "latest"})
		if err == nil {
			named := 0
			for _, m := range list {
				named += len(m.Extensions)
			}
			if named == 2 {
				d.check("recovery points name the machines' extensions", true, "2 of 2")
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a recovery point that names the agents: %w", errors.Join(ctx.Err(), err))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// watchTrap sees what west's collector makes of the agents that came with the disks, until ctx ends. It returns how many
// heartbeats it was seen to refuse.
func (d *demo) watchTrap(ctx context.Context) uint64 {
	most := map[string]uint64{}
	for ctx.Err() == nil {
		known, err := d.collectors["west"].Registrations(ctx)
		if err == nil {
			for _, r := range known.Refused {
				if most[r.Machine] == 0 {
					d.say("the %s of %s runs at west and says so, but west's collector refuses it: %s", r.Extension, r.Machine, r.Reason)
				}
				most[r.Machine] = max(most[r.Machine], r.Count)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	var sum uint64
	for _, n := range most {
		sum += n
	}
	return sum
}

// auditAgents checks that the agents were dead at west, and that they are alive now by what arrives at its collector.
func (d *demo) auditAgents(ctx context.Context, run wire.Run, refused uint64) error {
	d.act("The agents, which the disks carried and west did not know")
	list, _ := run.Result["extensions"].([]any)
	restored := 0
	for _, v := range list {
		m, _ := v.(map[string]any)
		text := func(key string) string { s, _ := m[key].(string); return s }
		if text("outcome") == string(dr.ExtensionRestored) {
			restored++
		}
		d.say("%s of %s: %s: %s", text("extension"), text("machine"), text("outcome"), text("reason"))
	}
	d.check("the agents were dead at west, although they said they ran", refused > 0 && restored == 2, fmt.Sprintf("%d heartbeats refused", refused))
	var alive []string
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		known, err := d.collectors["west"].Registrations(ctx)
		if err != nil {
			return err
		}
		alive = nil
		for _, r := range known.Registrations {
			if r.Heartbeat != nil && r.Heartbeat.Received.After(r.Registered) && len(r.Associations) == 1 && r.Associations[0].Rule == "shop-west" {
				alive = append(alive, fmt.Sprintf("%s %.1f s ago", r.Machine, known.Now.Sub(r.Heartbeat.Received).Seconds()))
			}
		}
		if len(alive) == 2 || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	d.summary.Extensions = restored
	d.check("the plan revived them without a person: fresh heartbeats at west's collector", len(alive) == 2 && restored == 2, strings.Join(alive, ", "))
	return nil
}
