package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/registry"
	"understudy/internal/vault"
	"understudy/internal/vault/cost"
)

// costs is what vault cost says.
type costs struct {
	Provider  string          `json:"provider"`
	Prices    cost.Prices     `json:"prices"`
	Groups    []cost.Estimate `json:"groups"`
	Total     float64         `json:"totalCost"`
	Lifecycle []string        `json:"lifecycle"`
}

// partSizes are how much of an object one request writes, in bytes.
var partSizes = map[string]int64{"s3": 5 << 20, "azblob": 8 << 20}

func (a *App) vaultCostCommand() *cobra.Command {
	var f vaultFlags
	var provider, prices, every string
	cmd := &cobra.Command{
		Use: "cost [--vault] PLACE", Short: "Estimate what a vault in an object store costs in a month",
		Long: `Estimate what a vault costs in a month that goes on as now: what is stored, and the requests of replication at the rate that points
were made in the last day. Restores, and traffic out of the cloud, are not included.

Prices are the list prices of one region unless --prices names a file of your own, for example:

  currency: EUR
  storedGiBMonth: 0.0245
  putThousand: 0.0054
  listThousand: 0.0054
  getThousand: 0.00043`,
		Example: `  understudy vault cost main
  understudy vault cost --vault s3://vault/team --every 5s --prices eu.yaml -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.take(args)
			place, err := a.place(cmd.Context(), f)
			if err != nil {
				return err
			}
			c := costs{Provider: provider, Groups: []cost.Estimate{}}
			if c.Provider == "" {
				c.Provider = registry.VaultProvider(place.URL)
			}
			if c.Prices, err = readPrices(c.Provider, prices); err != nil {
				return err
			}
			var cycle time.Duration
			if every != "" {
				if cycle, err = dr.ParseDuration(every); err != nil {
					return fmt.Errorf("--every: %w", err)
				}
			}
			locks := false
			err = a.eachGroup(cmd.Context(), f, func(v *keyring.Opened, group string) error {
				locks = v.Lock() != nil
				s, err := v.Stats(cmd.Context(), group)
				if err != nil {
					return err
				}
				points, err := v.Points(cmd.Context(), group)
				if err != nil {
					return err
				}
				u := cost.Use{Group: group, Bytes: s.Bytes, Every: cycle}
				var size int64
				u.Points, size = vault.Cadence(points)
				if part := partSizes[c.Provider]; part > 0 && size > part {
					u.Parts = 2 + float64(size/part) // beginning and completing it, too
				}
				c.Groups = append(c.Groups, cost.Of(u, c.Prices))
				return nil
			})
			if err != nil {
				return err
			}
			for _, e := range c.Groups {
				c.Total += e.Total
			}
			c.Lifecycle = cost.Lifecycle(c.Provider, locks)
			return a.printCosts(c)
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&provider, "provider", "", "whose default prices and rules: s3 or azblob (default: the vault's)")
	cmd.Flags().StringVar(&prices, "prices", "", "a YAML file of prices")
	cmd.Flags().StringVar(&every, "every", "", "how often the group is captured, such as the policy's RPO (default: as often as points were made)")
	return cmd
}

// readPrices reads a file of prices, or returns those of a provider.
func readPrices(provider, file string) (p cost.Prices, err error) {
	p, ok := cost.Defaults[provider]
	if !ok {
		return p, invalid("one of "+strings.Join(slices.Sorted(maps.Keys(cost.Defaults)), ", "), "provider %q is not known", provider)
	}
	if file == "" {
		return p, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return p, dr.WithHint(fmt.Errorf("read prices: %w", err), dr.KindInvalid, "understudy vault cost --help shows such a file")
	}
	p = cost.Prices{}
	if err := yaml.UnmarshalWithOptions(data, &p, yaml.Strict()); err != nil {
		return p, invalid("understudy vault cost --help shows such a file", "read prices of %s: %v", file, err)
	}
	return p, p.Validate()
}

func (a *App) printCosts(c costs) error {
	if !a.Human() {
		return out.One(a.Printer, c, fmt.Sprint(c.Total))
	}
	type E = cost.Estimate
	count := func(n float64) string { return fmt.Sprintf("%.0f", n) }
	err := out.List(a.Printer, c.Groups, func(e E) string { return e.Group }, "nothing is in this vault yet",
		out.Col("GROUP", func(e E) string { return e.Group }),
		out.Num("GIB", func(e E) string { return fmt.Sprintf("%.2f", e.GiB) }),
		out.Num("POINTS A DAY", func(e E) string { return count(e.PointsPerDay) }),
		out.Num("PUT A MONTH", func(e E) string { return count(e.Requests.Put) }),
		out.Num("LIST", func(e E) string { return count(e.Requests.List) }),
		out.Num("GET", func(e E) string { return count(e.Requests.Get) }),
		out.Num("STORAGE", func(e E) string { return cost.Text(e.Storage, e.Currency) }),
		out.Num("REQUESTS", func(e E) string { return cost.Text(e.Request, e.Currency) }),
		out.Num("A MONTH", func(e E) string { return cost.Text(e.Total, e.Currency) }))
	if err != nil {
		return err
	}
	a.Line("all groups: %s a month", cost.Text(c.Total, c.Prices.Currency))
	for _, rule := range c.Lifecycle {
		a.Line("lifecycle rule: %s", rule)
	}
	return nil
}
