package wire

import (
	"time"

	"understudy/internal/dr"
)

// CatalogueEntry is an entry of the extension catalogue.
type CatalogueEntry struct {
	Name        string                       `json:"name"`
	Publisher   string                       `json:"publisher,omitempty"`
	Version     string                       `json:"version"`
	Description string                       `json:"description,omitempty"`
	DependsOn   []string                     `json:"dependsOn,omitempty" doc:"Extensions that must be healthy before"`
	Settings    map[string]string            `json:"settings,omitempty"`
	Protected   map[string]string            `json:"protected,omitempty" doc:"References to secrets at the controller, never their values"`
	Heartbeat   string                       `json:"heartbeat" enum:"collector,none" doc:"Where its signs of life are seen"`
	Handlers    map[string]ExtensionHandlers `json:"handlers" doc:"By provider: programs in the machine"`
	Builtin     bool                         `json:"builtin" doc:"It comes with the program"`
	Text        string                       `json:"text,omitempty" doc:"As it was written, for one that was added"`
}

// ExtensionHandlers are the programs that handle an extension in a machine.
type ExtensionHandlers struct {
	Detect  []string `json:"detect"`
	Status  []string `json:"status"`
	Install []string `json:"install"`
	Remove  []string `json:"remove"`
	Timeout string   `json:"timeout,omitempty"`
}

// CatalogueText is an entry as it is written in YAML.
type CatalogueText struct {
	File string `json:"file,omitempty" doc:"Names the text in errors"`
	Text string `json:"text" minLength:"1" maxLength:"65536"`
}

// Inventory is what a machine was last seen to have, or had at a recovery point.
type Inventory struct {
	Group      string         `json:"group"`
	Site       string         `json:"site,omitempty" doc:"Left out for a recovery point"`
	Machine    string         `json:"machine"`
	Observed   time.Time      `json:"observed"`
	Extensions []dr.Extension `json:"extensions"`
}

// ExtensionInstall asks to install an extension in a machine.
type ExtensionInstall struct {
	Settings map[string]string `json:"settings,omitempty" doc:"Over those of the catalogue's entry"`
	Rules    []string          `json:"rules,omitempty" doc:"Data-collection rules of the site's collector to associate it with"`
}

// ExtensionInstalled says that an extension is installed and seen alive.
type ExtensionInstalled struct {
	Heartbeat *time.Time `json:"heartbeat,omitempty" doc:"When the first one arrived at the site's collector; left out for an extension that sends none"`
}

// ExtensionRestore asks to restore the extensions of a group where it runs.
type ExtensionRestore struct {
	DryRun bool `json:"dryRun,omitempty" doc:"Only see whether they could be restored"`
}

// SiteCollector is where a site's collector of heartbeats is. What is left out stays as it is; what is empty is removed.
type SiteCollector struct {
	URL      *string `json:"url,omitempty" example:"http://127.0.0.1:9101" doc:"Where the controller reaches it"`
	Token    *string `json:"token,omitempty" example:"file:/srv/collector/admin.token" doc:"A reference to its administrator's token"`
	Endpoint *string `json:"endpoint,omitempty" example:"http://10.0.2.100:9100" doc:"Where guests reach it; by default the URL"`
	Rules    *string `json:"rules,omitempty" example:"web-east=web-west" doc:"Which of its rules takes the place of another site's"`
}
