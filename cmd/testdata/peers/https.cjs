// Preloaded where the suite asks over TLS: some of its scenarios (of 0.2.0-alpha.12) send their requests with
// http.request, whatever the scheme of the URL they were given.
require("node:http").request = require("node:https").request;
