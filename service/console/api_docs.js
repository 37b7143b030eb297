// Show openapi.json, which lies beside this page whatever prefix a proxy adds. "Try it out" calls the same place.
'use strict';

async function show() {
  const response = await fetch('openapi.json');
  if (!response.ok) throw new Error(`openapi.json was answered with status ${response.status}`);
  const spec = await response.json();
  spec.servers = [{ url: new URL('.', location.href).pathname.replace(/\/$/, '') || '/' }];
  SwaggerUIBundle({ spec, dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null, tryItOutEnabled: true });
}

show().catch((error) => { document.getElementById('swagger-ui').textContent = `Cannot show the API: ${error.message}.`; });
