"""What lies beside an exported app for the hosts that read it, and for the people who set one up."""

from voxtral.web.headers import COMMON_HEADERS

KEPT_FOR_EVER = "public, max-age=31536000, immutable"
ASKED_FOR_AGAIN = "no-cache"

SPACE = """\
---
title: Voxtral in a tab
emoji: 🎙️
colorFrom: red
colorTo: yellow
sdk: static
app_file: index.html
pinned: false
license: apache-2.0
short_description: Speech to text that runs inside the browser tab
custom_headers:
  cross-origin-embedder-policy: require-corp
  cross-origin-opener-policy: same-origin
  cross-origin-resource-policy: cross-origin
---

# Voxtral in a tab

Speak, or drop an audio file, and read what was said. Python in the tab drives WebGPU; nothing leaves the machine.
"""

NGINX = """\
# Inside a server block; the app answers below the path of this folder. nginx forgets outer add_header lines in a
# location that has its own, hence they are repeated.
location / {{
    root {folder};
    types {{
        text/html html;
        text/javascript js mjs;
        text/css css;
        application/json json;
        application/manifest+json webmanifest;
        application/wasm wasm;
        application/zip whl zip;
        image/svg+xml svg;
        image/png png;
        audio/wav wav;
        video/webm webm;
        text/plain md tsv ts py;
    }}
    default_type application/octet-stream;
    gzip on;
    gzip_types text/javascript text/css application/json application/wasm;
{headers}
    add_header Cache-Control "{again}" always;

    location ~ /v-[0-9a-f]+/ {{
{inner_headers}
        add_header Cache-Control "{for_ever}" always;
    }}
}}
"""

NOTES = """\
# Where to put this folder

Any server of files will do, below any path: all addresses are relative. The service worker and the microphone need
https, or localhost. No special headers are needed, cross-origin isolation neither; those that a host can set make the
page harder to misuse. A Content-Security-Policy is in index.html in any case.

`index.html`, `app.webmanifest`, `service_worker.js`, `voxtral.js` and `voxtral_captions.js` must be asked for again at
every visit (`Cache-Control: no-cache`); everything below `v-…/` may be kept for ever. Export a new version into the
same folder: the version before stays for visitors who still have its page, older ones go.

Pages of yours import `voxtral.js` (speech to text as a module; contract and types: `voxtral.d.ts`) or
`voxtral_captions.js` (captions as an element): from this folder on the same site, or from any site if this host sends
`Access-Control-Allow-Origin: *` with every file, as GitHub Pages does.

| host | what to do | headers |
|---|---|---|
| Hugging Face static Space | `hf upload OWNER/NAME . --repo-type space` | the cross-origin ones, in README.md |
| GitHub Pages | push the folder as the branch or folder that Pages serves, without LFS | none can be set |
| Cloudflare Pages | `npx wrangler pages deploy .` | `_headers` |
| Netlify | `npx netlify deploy --prod --dir .` | `_headers` |
| nginx | include `nginx.conf` in a server block | `nginx.conf` |
| S3 with CloudFront | the commands below | a response headers policy with the list below |

## S3

    aws s3 sync . s3://BUCKET/PATH --exclude "v-*" --cache-control "{again}"
    aws s3 sync . s3://BUCKET/PATH --exclude "*" --include "v-*" --cache-control "{for_ever}"

The command line guesses types by the local machine's list; where that does not know them, set them once more:

    aws s3 cp . s3://BUCKET/PATH --recursive --exclude "*" --include "*.mjs" --content-type text/javascript \\
        --metadata-directive REPLACE --cache-control "{for_ever}"
    aws s3 cp . s3://BUCKET/PATH --recursive --exclude "*" --include "*.wasm" --content-type application/wasm \\
        --metadata-directive REPLACE --cache-control "{for_ever}"

## Headers

{headers}
"""


def files_for_hosts(version_folder: str) -> dict[str, str]:
    """Text by name. version_folder: where everything lies that never changes."""
    return {
        "README.md": SPACE,
        "_headers": _headers_file(version_folder),
        ".nojekyll": "",
        "nginx.conf": NGINX.format(
            folder="/srv/voxtral",
            headers=_nginx_headers(4),
            inner_headers=_nginx_headers(8),
            again=ASKED_FOR_AGAIN,
            for_ever=KEPT_FOR_EVER,
        ),
        "HOSTING.md": NOTES.format(
            again=ASKED_FOR_AGAIN,
            for_ever=KEPT_FOR_EVER,
            headers="\n".join(f"    {name}: {value}" for name, value in COMMON_HEADERS.items()),
        ),
    }


def _headers_file(version_folder: str) -> str:
    """The form that Cloudflare Pages and Netlify read; both ask again by themselves for what has no Cache-Control."""
    everywhere = [f"  {name}: {value}" for name, value in COMMON_HEADERS.items()]
    return "\n".join(["/*", *everywhere, "", f"/{version_folder}/*", f"  Cache-Control: {KEPT_FOR_EVER}", ""])


def _nginx_headers(indent: int) -> str:
    return "\n".join(f'{" " * indent}add_header {name} "{value}" always;' for name, value in COMMON_HEADERS.items())
