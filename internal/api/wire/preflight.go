package wire

// Check is a finding about a machine that is to start elsewhere.
type Check struct {
	Machine string `json:"machine"`
	Name    string `json:"name"`
	State   string `json:"state" enum:"ok,warning,failure,unknown" doc:"unknown is what cannot be seen from outside"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty" doc:"What to do in the machine, or how to see by hand what is unknown"`
}

// Preflight says whether machines would start at a site. Nothing was changed for it.
type Preflight struct {
	Group  string  `json:"group,omitempty"`
	Point  string  `json:"point,omitempty" doc:"The recovery point whose disks were looked into"`
	Target string  `json:"target"`
	State  string  `json:"state" enum:"ok,warning,failure,unknown" doc:"The one that matters most"`
	Checks []Check `json:"checks"`
}
