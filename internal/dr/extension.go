package dr

import "time"

// An Extension is software in a machine that a site knows and manages, such as a monitoring agent. It survives a copy
// of the disks, but what the site holds about it (its registration, its associations) does not.
type Extension struct {
	Name      string `json:"name"`
	Publisher string `json:"publisher,omitempty"`
	Version   string `json:"version,omitempty"`
	// Settings of the handler. Protected names settings whose values are secrets: references, never values.
	Settings     map[string]string `json:"settings,omitempty"`
	Protected    map[string]string `json:"protected,omitempty"`
	Associations []Association     `json:"associations,omitempty"`
	DependsOn    []string          `json:"dependsOn,omitempty"` // names of extensions that must be healthy before

	Status    ExtensionStatus `json:"status,omitempty"`
	Heartbeat time.Time       `json:"heartbeat,omitzero"` // the newest that arrived at the site
	Message   string          `json:"message,omitempty"`
}

// An Association ties a machine to an object of the site, such as a data-collection rule.
type Association struct {
	Name string `json:"name"`
	Rule string `json:"rule"` // the rule's name at the site where it was observed
}

// ExtensionStatus is what is known of an extension's health.
type ExtensionStatus string

// Extension statuses.
const (
	ExtensionHealthy      ExtensionStatus = "healthy"
	ExtensionUnresponsive ExtensionStatus = "unresponsive" // installed, but its heartbeat is missing or old
	ExtensionFailed       ExtensionStatus = "failed"       // its handler says so
	ExtensionAbsent       ExtensionStatus = "absent"
	ExtensionUnknown      ExtensionStatus = "unknown" // the machine or the collector does not answer
)

// StaleHeartbeat is the age beyond which a heartbeat no longer counts as one.
const StaleHeartbeat = 600 * time.Second

// RestoreOutcome is what became of an extension after a failover.
type RestoreOutcome string

// Outcomes of restoring an extension.
const (
	ExtensionRestored       RestoreOutcome = "restored"
	ExtensionAlreadyHealthy RestoreOutcome = "already-healthy"
	ExtensionNotRestored    RestoreOutcome = "failed"
	ExtensionReady          RestoreOutcome = "ready" // rehearsed: what a restoration needs is there
)

// An ExtensionResult reports on one extension of one machine.
type ExtensionResult struct {
	Machine   string         `json:"machine"`
	Extension string         `json:"extension"`
	Outcome   RestoreOutcome `json:"outcome"`
	Reason    string         `json:"reason,omitempty"`
	Heartbeat time.Time      `json:"heartbeat,omitzero"` // the fresh one
}
