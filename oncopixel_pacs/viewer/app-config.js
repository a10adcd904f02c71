// Configuration of an unmodified OHIF 3.13 for a DICOMweb server of the same origin at /dicom-web.
// It replaces app-config.js of the published build; nothing is compiled.
//
// /viewer?StudyInstanceUIDs=UID&hangingprotocolId=oncopixel.mammo shows R CC, L CC, R MLO and
// L MLO with their segmentations on top; &overlay=off shows the images alone.
(function () {
  // SNOMED CT and SNOMED-RT codes of PS3.16 CID 4014; View Position is optional and often absent.
  const VIEW_OF_CODE = { 399162004: 'CC', 'R-10242': 'CC', 399368009: 'MLO', 'R-10226': 'MLO' };

  function nameOfView(displaySet) {
    const image = (displaySet.instances || displaySet.images || [])[0] || {};
    const [code] = [].concat(image.ViewCodeSequence || []);
    const side = image.ImageLaterality || image.Laterality;
    return `${side} ${VIEW_OF_CODE[code && code.CodeValue] || image.ViewPosition}`;
  }

  const view = name => ({
    seriesMatchingRules: [
      { attribute: 'Modality', constraint: { equals: 'MG' }, required: true },
      { attribute: 'mammographyView', constraint: { equals: name }, required: true },
      {
        weight: 1,
        attribute: 'PresentationIntentType',
        constraint: { equals: 'FOR PRESENTATION' },
      },
    ],
  });
  // The chest wall lies at the edge where the two breasts meet: 1 is right, 0 is left.
  const pane = (id, chestWall) => ({
    viewportOptions: {
      viewportType: 'stack',
      toolGroupId: 'default',
      allowUnmatchedView: true,
      displayArea: {
        storeAsInitialCamera: true,
        imageArea: [0.9, 0.9],
        imageCanvasPoint: { imagePoint: [chestWall, 0.5], canvasPoint: [chestWall, 0.5] },
      },
    },
    displaySets: [{ id }],
  });
  const protocol = {
    id: 'oncopixel.mammo',
    name: 'Mammography 2 × 2',
    hasUpdatedPriorsInformation: false,
    numberOfPriorsReferenced: 0,
    protocolMatchingRules: [
      {
        id: 'mammography',
        weight: 200,
        attribute: 'ModalitiesInStudy',
        constraint: { contains: 'MG' },
        required: true,
      },
    ],
    toolGroupIds: ['default'],
    displaySetSelectors: {
      RCC: view('R CC'),
      LCC: view('L CC'),
      RMLO: view('R MLO'),
      LMLO: view('L MLO'),
    },
    stages: [
      {
        name: 'Four views',
        viewportStructure: { layoutType: 'grid', properties: { rows: 2, columns: 2 } },
        viewports: [pane('RCC', 1), pane('LCC', 0), pane('RMLO', 1), pane('LMLO', 0)],
      },
    ],
  };

  // Puts every segmentation onto the image that it was made from. OHIF 3.13 loses the colours of
  // one that is attached before all images are drawn, and may leave its first drawing black.
  const STEADY_TICKS = 3;
  const REDRAWS = 4;
  const TICK_MS = 500;
  const MOST_TICKS = 240;
  let timers = [];

  function attachSegmentations({ services }) {
    const { displaySetService, viewportGridService, segmentationService } = services;
    const { cornerstoneViewportService, userAuthenticationService } = services;
    const attached = new Set();
    const refused = new Set();
    let steady = 0;
    let redraws = 0;

    async function attach(segmentation, viewport) {
      const segmentationId = segmentation.displaySetInstanceUID;
      const key = `${segmentationId} ${viewport.viewportId}`;
      const shown = viewport.displaySetInstanceUIDs;
      if (attached.has(key) || !shown.includes(segmentation.referencedDisplaySetInstanceUID)) {
        return;
      }
      try {
        const headers = userAuthenticationService.getAuthorizationHeader() || {};
        await segmentation.load({ headers });
        await segmentationService.addSegmentationRepresentation(viewport.viewportId, {
          segmentationId,
          type: 'Labelmap',
        });
      } catch (error) {
        // One that cannot be shown must not keep the others from being shown.
        refused.add(segmentationId);
        console.error('a segmentation was not attached', error);
        return;
      }
      attached.add(key);
      redraws = REDRAWS;
    }

    // Of one image a study may hold a segmentation in several forms, for several archives. OHIF
    // does not draw probabilities, and a label map says what the binary one of its image says.
    function worthShowing(segmentations) {
      const form = segmentation => segmentation.instance?.SegmentationType;
      const binary = segmentations
        .filter(item => form(item) === 'BINARY')
        .map(item => item.referencedDisplaySetInstanceUID);
      return segmentations.filter(
        item =>
          !refused.has(item.displaySetInstanceUID) &&
          form(item) !== 'FRACTIONAL' &&
          (form(item) === 'BINARY' || !binary.includes(item.referencedDisplaySetInstanceUID))
      );
    }

    return async function tick() {
      const filled = [...viewportGridService.getState().viewports.values()].filter(
        viewport => viewport.displaySetInstanceUIDs.length
      );
      const drawn = viewport =>
        cornerstoneViewportService.getCornerstoneViewport(viewport.viewportId)?.viewportStatus ===
        'rendered';
      steady = filled.length && filled.every(drawn) ? steady + 1 : 0;
      if (steady < STEADY_TICKS) {
        return;
      }
      const shown = displaySetService.getActiveDisplaySets();
      for (const segmentation of worthShowing(shown.filter(item => item.Modality === 'SEG'))) {
        for (const viewport of filled) {
          await attach(segmentation, viewport);
        }
      }
      if (redraws > 0) {
        redraws -= 1;
        const { triggerSegmentationEvents } = window.cornerstoneTools.segmentation;
        for (const key of attached) {
          triggerSegmentationEvents.triggerSegmentationDataModified(key.split(' ')[0]);
        }
      }
      window.oncopixelOverlays = { attached: attached.size, drawn: redraws === 0 };
    };
  }

  // OHIF 3.13 adds the graphics of a report after its image was drawn, on a slow computer for
  // good: they would appear only once the mouse is moved over the image.
  const REPORT_REDRAWS = 20;

  function redrawReports({ services }) {
    const { displaySetService, viewportGridService } = services;
    let before = '';
    let redraws = 0;

    return function tick() {
      const isReport = uid => displaySetService.getDisplaySetByUID(uid)?.Modality === 'SR';
      const showing = [...viewportGridService.getState().viewports.values()].filter(viewport =>
        viewport.displaySetInstanceUIDs.some(isReport)
      );
      if (!showing.length) {
        before = '';
        return;
      }
      const { annotation, utilities } = window.cornerstoneTools;
      const shown = showing.map(item => [item.viewportId, ...item.displaySetInstanceUIDs]);
      const now = JSON.stringify([shown, annotation.state.getAllAnnotations().length]);
      redraws = now === before ? redraws - 1 : REPORT_REDRAWS;
      before = now;
      if (redraws > 0) {
        utilities.triggerAnnotationRenderForViewportIds(showing.map(item => item.viewportId));
      }
    };
  }

  const extension = {
    id: 'oncopixel.mammography',
    preRegistration: ({ servicesManager }) =>
      servicesManager.services.hangingProtocolService.addCustomAttribute(
        'mammographyView',
        'Laterality and view',
        nameOfView
      ),
    getHangingProtocolModule: () => [{ name: protocol.id, protocol }],
    onModeEnter: ({ servicesManager }) => {
      timers.forEach(clearInterval);
      timers = [setInterval(redrawReports(servicesManager), TICK_MS)];
      if (new URLSearchParams(window.location.search).get('overlay') === 'off') {
        return;
      }
      const tick = attachSegmentations(servicesManager);
      let busy = false;
      let ticks = 0;
      const timer = setInterval(() => {
        if (busy) {
          return;
        }
        busy = true;
        ticks += 1;
        tick()
          .catch(error => console.error('segmentations were not attached', error))
          .finally(() => {
            busy = false;
          });
        if (ticks > MOST_TICKS) {
          clearInterval(timer);
        }
      }, TICK_MS);
      timers.push(timer);
    },
    onModeExit: () => timers.forEach(clearInterval),
  };

  window.config = {
    name: 'oncopixel',
    // What the page says that it is served under; without a slash at the end.
    routerBasename: (window.PUBLIC_URL || '/').replace(/(.)\/$/, '$1'),
    extensions: [extension],
    modes: [],
    customizationService: {},
    showStudyList: true,
    maxNumberOfWebWorkers: 2,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    defaultDataSourceName: 'dicomweb',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'dicomweb',
        configuration: {
          friendlyName: 'OncoPixel PACS',
          name: 'oncopixel',
          wadoUriRoot: '/dicom-web',
          qidoRoot: '/dicom-web',
          wadoRoot: '/dicom-web',
          qidoSupportsIncludeField: false,
          supportsReject: false,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          // With lazy loading segmentations may be tied to the wrong view.
          enableStudyLazyLoad: false,
          staticWado: true,
          singlepart: 'bulkdata',
          bulkDataURI: { enabled: true },
          omitQuotationForMultipartRequest: true,
          acceptHeader: [
            'multipart/related; type=application/octet-stream; transfer-syntax=*',
          ],
        },
      },
    ],
  };
})();
